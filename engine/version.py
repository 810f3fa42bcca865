"""The engine's version: it is part of every manifest and of the key of every piece of work."""

ENGINE_VERSION = "0.1.0"
