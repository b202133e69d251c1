"""The calculator: venue rules on the command line."""
