package ingest

// ResponseTo returns the response to a verdict.
var ResponseTo = responseTo
