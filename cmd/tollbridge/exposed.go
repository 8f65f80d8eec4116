package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
)

// permissionWarnings returns a warning for each file with a secret, for a
// configuration file with secrets in it, and for the state directory, if other
// users of the machine can read or write it. It skips files that it cannot stat:
// they do not exist yet, or reading them fails elsewhere.
func (c config) permissionWarnings() []string {
	var all []string
	check := func(what, path, mode string) {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			return
		}
		if open := info.Mode().Perm() & 0o077; open != 0 {
			all = append(all, fmt.Sprintf("%s %s can be read or written by other users of this machine (mode %04o); run: chmod %s %s", what, path, info.Mode().Perm(), mode, path))
		}
	}
	file := func(s secretConfig) { check("the secret in", s.File, "600") }
	inline := false
	for _, e := range c.Endpoints {
		for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
			file(e.Secrets[name])
			inline = inline || e.Secrets[name].Value != ""
		}
		if e.API == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(e.API.Keys)) {
			file(e.API.Keys[name])
			inline = inline || e.API.Keys[name].Value != ""
		}
	}
	file(c.Console.Password)
	inline = inline || c.Console.Password.Value != ""
	if p := c.Console.Proxy; p != nil {
		file(p.Secret)
		inline = inline || p.Secret.Value != ""
	}
	if a := c.Kafka.SASL; a != nil {
		file(a.Password)
		inline = inline || a.Password.Value != ""
	}
	if t := c.Kafka.TLS; t != nil {
		check("the key in", t.Key, "600")
	}
	if inline {
		check("the configuration with secrets in", c.file, "600")
	}
	check("the state directory", c.State, "700")
	return all
}
