package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
)

// permissionWarnings returns a warning for each file with a secret, for a
// configuration file with secrets in it, and for the state directory, if other
// users of the machine can read or write it. It skips files that it cannot stat:
// they do not exist yet, or reading them fails elsewhere.
func (c config) permissionWarnings() []string {
	var all []string
	check := func(what, path string) {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			return
		}
		if mode, open := info.Mode().Perm(), exposed(info); open != 0 {
			all = append(all, fmt.Sprintf("%s %s can be read or written by other users of this machine (mode %04o); run: chmod %o %s", what, path, mode, mode&^open, path))
		}
	}
	file := func(s secretConfig) { check("the secret in", s.File) }
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
		check("the key in", t.Key)
	}
	if inline {
		check("the configuration with secrets in", c.file)
	}
	check("the state directory", c.State)
	return all
}

// exposed returns the permissions of other users that they should not have. The group of a
// file of root may read it: so does a server that does not run as root, with the packages
// and in Kubernetes.
func exposed(info fs.FileInfo) fs.FileMode {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == 0 && !info.IsDir() {
		return info.Mode().Perm() & 0o037
	}
	return info.Mode().Perm() & 0o077
}
