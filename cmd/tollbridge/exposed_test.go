package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExposedFiles: config check names each file with a secret that other users can
// read, says how to correct that, and prints no warning once it is corrected. The group may
// read a file of root, as docs/operating.md has it for the packages.
func TestExposedFiles(t *testing.T) {
	dir := t.TempDir()
	paths := map[string]string{}
	for name, text := range map[string]string{"stripe": "whsec_file", "password": "kafka-password", "state": ""} {
		paths[name] = filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(paths[name], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(paths["state"], 0o700); err != nil {
		t.Fatal(err)
	}
	paths["config"] = filepath.Join(dir, "tollbridge.yaml")
	text := "state: " + paths["state"] + "\n" +
		"kafka: {sasl: {mechanism: PLAIN, username: u, password: {file: " + paths["password"] + "}}}\n" +
		"endpoints:\n  - connector: paystack\n    secrets: {main: {file: " + paths["stripe"] + "}, old: {value: whsec_inline}}\n"
	if err := os.WriteFile(paths["config"], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tollbridge(t, "", "config", "check", "--config", paths["config"]); got.code != 0 || got.err != "" {
		t.Fatalf("exit %d, %s", got.code, got.err)
	}
	warns := func(name string, wide, right os.FileMode) {
		t.Helper()
		path := paths[name]
		if err := os.Chmod(path, wide); err != nil {
			t.Fatal(err)
		}
		got := tollbridge(t, "", "config", "check", "--config", paths["config"])
		if want := fmt.Sprintf("run: chmod %o %s", right, path); got.code != 0 || !strings.Contains(got.err, want) || strings.Count(got.err, path) != 2 || strings.Count(got.err, "warning: ") != 1 {
			t.Errorf("%s with mode %o: exit %d, %s", name, wide, got.code, got.err)
		}
		if err := os.Chmod(path, right); err != nil {
			t.Fatal(err)
		}
	}
	warns("state", 0o755, 0o700)
	if os.Geteuid() == 0 {
		for _, name := range []string{"stripe", "password", "config"} {
			warns(name, 0o664, 0o640) // and 0640 gives no warning while the next ones are wrong
		}
		for _, path := range paths { // from here on as for a user that is not root
			if err := os.Chown(path, 1, 1); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"stripe", "password", "config"} {
		warns(name, 0o640, 0o600)
	}
}
