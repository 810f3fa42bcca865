"""A set of stems as a session that a digital audio workstation opens: DAWproject and REAPER."""
