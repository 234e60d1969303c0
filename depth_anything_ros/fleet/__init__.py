"""Work on many files by the machines of a Ray cluster; nothing here is needed on one machine."""
