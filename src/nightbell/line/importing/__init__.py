"""Messages of the voicemail of before, brought over: read, sealed, and taken in like a call's. The source is never changed."""
