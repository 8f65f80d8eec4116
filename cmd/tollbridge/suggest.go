package main

import (
	"github.com/tollbridge/tollbridge/internal/suggest"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// unknownConnector returns a usage error for a connector that does not exist.
func unknownConnector(flag, name string) error {
	return usage("%s: unknown connector %q; %s", flag, name, suggest.Text(name, verify.Connectors(), "'tollbridge connectors' lists them"))
}

// unknownType returns a usage error for an event type that does not exist.
func unknownType(flag, name string) error {
	return usage("%s: unknown event type %q; %s", flag, name, suggest.Text(name, eventTypes(), "'tollbridge schemas' lists them"))
}

// eventTypes returns the names of all event types.
func eventTypes() (all []string) {
	for _, t := range schemas.Types() {
		all = append(all, string(t))
	}
	return all
}
