package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
)

// exposed returns a warning for each secret's file, and for the configuration
// file with secrets in it and the state directory, that other users of the
// machine may read. What cannot be looked at is not there yet, or is another
// check's to say.
func (c config) exposed() []string {
	var all []string
	look := func(what, path, mode string) {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			return
		}
		if open := info.Mode().Perm() & 0o077; open != 0 {
			all = append(all, fmt.Sprintf("%s %s can be read or written by other users of this machine (mode %04o); run: chmod %s %s", what, path, info.Mode().Perm(), mode, path))
		}
	}
	file := func(s secretConfig) { look("the secret in", s.File, "600") }
	inline := false
	for _, e := range c.Endpoints {
		for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
			file(e.Secrets[name])
			inline = inline || e.Secrets[name].Value != ""
		}
	}
	if a := c.Kafka.SASL; a != nil {
		file(a.Password)
		inline = inline || a.Password.Value != ""
	}
	if t := c.Kafka.TLS; t != nil {
		look("the key in", t.Key, "600")
	}
	if inline {
		look("the configuration with secrets in", c.file, "600")
	}
	look("the state directory", c.State, "700")
	return all
}
