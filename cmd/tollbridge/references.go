package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/verify"
)

func referencesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "references",
		Short: "Show which merchant's id belongs to a processor's id",
	}
	c.AddCommand(referencesGetCommand(), referencesListCommand())
	return c
}

func referencesGetCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Show the references of an id: since when, and from which event",
		Long: `Show the references of an id: which merchant's id belongs to which processor's
id, since when, and from which event. ID is one of:

  connector:account:id     a key of webhooks.references; one partition is read
  the processor's id       the whole topic is read
  the merchant's id        the whole topic is read`,
		Example: `  tollbridge references get stripe::pi_3PqTb0Demo0001
  tollbridge references get order-43 --config tollbridge.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			found := map[string]lookup.Reference{}
			err := eachReference(c, args[0], func(r lookup.Reference) {
				if _, repeated := found[r.Key]; !repeated && r.Matches(args[0]) {
					found[r.Key] = r
				}
			}, func() {})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return fmt.Errorf("%q is in no reference", args[0])
			}
			w := columns(c)
			for _, key := range slices.Sorted(maps.Keys(found)) {
				if err := writeReference(c, w, found[key], asJSON); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	sessionFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

func referencesListCommand() *cobra.Command {
	var connector, prefix string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the references",
		Example: `  tollbridge references list --connector stripe
  tollbridge references list --key-prefix adyen:ShopECOM: --json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, ok := verify.Lookup(connector); !ok && connector != "" {
				return unknownConnector("--connector", connector)
			}
			w := columns(c)
			var failed error
			err := eachReference(c, "", func(r lookup.Reference) {
				if strings.HasPrefix(r.Key, prefix) && (connector == "" || strings.HasPrefix(r.Key, connector+":")) && failed == nil {
					failed = writeReference(c, w, r, asJSON)
				}
			}, func() { _ = w.Flush() })
			if failed != nil {
				return failed
			}
			return err
		},
	}
	sessionFlags(c)
	c.Flags().StringVar(&connector, "connector", "", "only of this connector")
	c.Flags().StringVar(&prefix, "key-prefix", "", "only keys, connector:account:id, with this prefix")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// writeReference adds a reference to the table, or prints it as one line of JSON.
func writeReference(c *cobra.Command, w *cellTable, r lookup.Reference, asJSON bool) error {
	if asJSON {
		return writeJSONLine(c.OutOrStdout(), r)
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", oneLine(r.Key), oneLine(r.MerchantTransactionID), timestamp(r.Since), oneLine(r.EventID))
	return err
}

// eachReference calls f with the references, only those of one partition if id is
// a key. It calls flush after each fetch from Kafka.
func eachReference(c *cobra.Command, id string, f func(lookup.Reference), flush func()) error {
	s, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer s.reader.Close()
	report, clear := readProgress(c)
	defer clear()
	return lookup.EachReference(c.Context(), s.reader, s.names, id, func(done, all int64) {
		if flush(); report != nil {
			report(done, all)
		}
	}, f)
}
