package main

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

// TestImageHealthCheck: the health check of the image is a command line that this program
// has, with the configuration file that its server reads.
func TestImageHealthCheck(t *testing.T) {
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	args := func(pattern string) (list []string) {
		found := regexp.MustCompile(`(?m)^` + pattern + `CMD (\[.*\])$`).FindSubmatch(dockerfile)
		if found == nil || json.Unmarshal(found[1], &list) != nil || len(list) < 3 {
			t.Fatalf("the Dockerfile has no line %sCMD [\"…\"]", pattern)
		}
		return list
	}
	health, server := args("HEALTHCHECK .*"), args("")
	c, flags, err := rootCommand().Find(health[1:])
	if err != nil || c.Name() != "healthcheck" || health[0] != "/tollbridge" {
		t.Fatalf("%v is not a health check: %v", health, err)
	}
	if err := c.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Flag("config").Value.String(), server[len(server)-1]; got != want {
		t.Errorf("the health check reads %s, the server %s", got, want)
	}
}
