package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func healthcheckCommand() *cobra.Command {
	var ready bool
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the server on this machine whether it is alive or ready",
		Long: `Ask the server on this machine whether it is alive: GET /livez of its admin
listener. With --ready, ask whether it can acknowledge webhooks: GET /readyz.
The command is for container images that have no shell and no curl, and reads
no secret.

Exit codes: 0 the server answered 200; 1 it did not; 2 the command line or the
configuration is wrong.`,
		Example: `  tollbridge healthcheck --config tollbridge.yaml
  tollbridge healthcheck --admin 127.0.0.1:9090 --ready`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(c)
			if err == nil {
				err = checkHostPort("admin", cfg.Admin, 1)
			}
			if err != nil {
				return usageError{err}
			}
			path := "/livez"
			if ready {
				path = "/readyz"
			}
			text, err := askHealth(c.Context(), "http://"+localAddress(cfg.Admin)+path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringP("config", "c", "", "the server's configuration file (YAML)")
	c.Flags().String("admin", "", "address of the server's admin listener")
	c.Flags().BoolVar(&ready, "ready", false, "ask whether the server can acknowledge webhooks")
	return c
}

// healthTimeout is how long healthcheck waits for the response. Ready takes up to 2 s.
const healthTimeout = 5 * time.Second

// askHealth returns the body of a response with status 200, and an error for any other.
func askHealth(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{}} // without the environment's proxies
	a, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, 4<<10))
	var lines []string // with warnings, if there are any
	for line := range strings.Lines(string(bytes.TrimSpace(b))) {
		lines = append(lines, oneLine(strings.TrimSpace(line)))
	}
	text := strings.Join(lines, "\n")
	if a.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", url, a.Status, text)
	}
	return text, err
}

// localAddress returns the address at which this machine reaches a listener: the
// loopback address if it listens at all addresses.
func localAddress(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		return listener
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
