// Command tollbridge receives payment processors' webhooks and publishes them to
// Kafka as one event stream. See `tollbridge help`, and README.md.
//
// Exit codes: 0 done, 1 refused or failed, 2 the command line or the
// configuration is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollbridge/tollbridge/internal/suggest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal kills the process
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errRefused is the error of a command that has printed why it failed: exit code
// 1, and no further message.
var errRefused = errors.New("refused")

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	stdout, stderr := newSafeWriter(out), newSafeWriter(errOut)
	defer stdout.end()
	defer stderr.end()
	errOut = stderr
	root.SetIn(in)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var u usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRefused):
		return 1
	}
	fmt.Fprintln(folded(errOut), "tollbridge:", err)
	if errors.As(err, &u) {
		return 2
	}
	return 1
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tollbridge",
		Short: "Payment webhooks in, one event stream in Kafka out",
		Long: `tollbridge receives payment processors' webhooks, verifies and normalises each,
and publishes its events to Kafka, keyed by merchant_transaction_id. A 2xx
response to the processor means that the webhook is in Kafka.

Exit codes: 0 done; 1 refused or failed; 2 the command line or the
configuration is wrong. Every flag can also be set by an environment variable,
such as TOLLBRIDGE_BROKERS for --brokers. A flag overrides its variable, and a
variable overrides the configuration file.`,
		Example: `  tollbridge dev                              try it, with a built-in Kafka
  tollbridge send stripe payment_intent.succeeded
  tollbridge serve --config tollbridge.yaml   run the server
  tollbridge inspect --connector stripe --secret whsec_… \
    --header "Stripe-Signature: …" body.json  find out why a webhook is refused
  tollbridge connectors stripe                which event types to subscribe to`,
		Args:          knownCommand,
		Version:       readBuild().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return flagsFromEnv(c.Flags())
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		always := fmt.Sprintf("see '%s --help'", c.CommandPath())
		var unknown *pflag.NotExistError
		if !errors.As(err, &unknown) {
			return usage("%w; %s", err, always)
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		return usage("%w; %s", err, suggest.Text("--"+unknown.GetSpecifiedName(), names, always))
	})
	usage := strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth))
	root.SetUsageTemplate(strings.ReplaceAll(usage, "for more information about a command", "for more about a command"))
	root.SetVersionTemplate("tollbridge {{.Version}}\n")
	root.AddCommand(
		devCommand(), serveCommand(), inspectCommand(), sendCommand(),
		topicsCommand(), connectorsCommand(), schemasCommand(), configCommand(), soakCommand(), versionCommand(), healthcheckCommand(),
		tailCommand(), consoleCommand(), timelineCommand(), showCommand(), referencesCommand(), dedupeCommand(),
		deadCommand(), replayCommand(), rewindCommand(), gapsCommand(), endpointsCommand(), manCommand(),
	)
	for _, c := range root.Commands() {
		usageArgs(c)
	}
	return root
}

// knownCommand returns a usage error for an unknown command, with a suggestion.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	if like := suggest.Closest(args[0], names); like != "" {
		return usage("unknown command %q; is it '%s %s'?", args[0], c.CommandPath(), like)
	}
	return usage("unknown command %q; see '%s --help'", args[0], c.CommandPath())
}

// usageArgs turns errors about the arguments of a command, and of its subcommands,
// into usage errors.
func usageArgs(c *cobra.Command) {
	check := c.Args
	switch {
	case check == nil && c.HasSubCommands():
		check = knownCommand
	case check == nil:
		check = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if u := (usageError{}); err == nil || errors.As(err, &u) {
			return err
		}
		return usage("%w; see '%s --help'", err, c.CommandPath())
	}
	if c.RunE == nil && c.Run == nil { // it has only subcommands: print them
		c.RunE = func(c *cobra.Command, _ []string) error {
			_ = c.Help()
			return usage("'%s' needs one of the commands above", c.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		usageArgs(sub)
	}
}

// level parses a log level.
func level(name string) (zerolog.Level, error) {
	switch name {
	case "debug", "info", "warn", "error":
		return zerolog.ParseLevel(name)
	}
	return 0, fmt.Errorf("log_level: %q is not debug, info, warn or error", name)
}

// setLogLevel sets the least level of all loggers of the process, also while they are in
// use. It overrides a lower level of a logger.
func setLogLevel(name string) {
	l, _ := level(name) // checked with the configuration
	zerolog.SetGlobalLevel(l)
}

// logger returns a logger that writes columns to a terminal, and JSON lines
// elsewhere.
func logger(out io.Writer, name string) zerolog.Logger {
	l, _ := level(name) // checked with the configuration
	if s, ok := out.(*safeWriter); ok && s.terminal {
		out = zerolog.ConsoleWriter{Out: s, TimeFormat: "15:04:05.000", NoColor: true} // the writer would escape colours
	} else if ok {
		out = rawWriter{s} // JSON
	}
	return zerolog.New(out).Level(l).With().Timestamp().Logger()
}
