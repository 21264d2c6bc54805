"""What the answers must be: a second opinion, slow and obvious.

It shares no code with the service. Records as they were sent and a question as it is posted go in,
the whole JSON answer comes out. One record at a time is looked at, one local day at a time is
walked; numbers are fractions until they are shown.
"""
