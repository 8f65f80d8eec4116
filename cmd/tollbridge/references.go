package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// reference is a record of webhooks.references.
type reference struct {
	Key                   string    `json:"key"` // connector:account:id
	MerchantTransactionID string    `json:"merchant_transaction_id"`
	Since                 time.Time `json:"since"`
	EventID               string    `json:"event_id"` // which told it
}

func referencesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "references",
		Short: "Say which merchant's id a processor's id stands for",
	}
	c.AddCommand(referencesGetCommand(), referencesListCommand())
	return c
}

func referencesGetCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Say what an id stands for, since when, and by which event",
		Long: `Say what an id stands for, since when, and by which event. ID is a key of
webhooks.references, connector:account:id, for which one partition is read;
or the processor's id alone, or the merchant's, for which all of the topic is.`,
		Example: `  tollbridge references get stripe::pi_3PqTb0Demo0001
  tollbridge references get order-43 --config tollbridge.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			found := map[string]reference{}
			err := eachReference(c, args[0], func(r reference) {
				_, there := found[r.Key]
				if !there && (r.Key == args[0] || strings.HasSuffix(r.Key, ":"+args[0]) || r.MerchantTransactionID == args[0]) {
					found[r.Key] = r // the first counts
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
				if err := found[key].write(w, asJSON); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	kafkaOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
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
				return usage("--connector: %q is unknown; there are %s", connector, strings.Join(verify.Connectors(), ", "))
			}
			w := columns(c)
			var failed error
			err := eachReference(c, "", func(r reference) {
				if strings.HasPrefix(r.Key, prefix) && (connector == "" || strings.HasPrefix(r.Key, connector+":")) && failed == nil {
					failed = r.write(w, asJSON)
				}
			}, func() { _ = w.Flush() })
			if failed != nil {
				return failed
			}
			return err
		},
	}
	kafkaOnly(c)
	c.Flags().StringVar(&connector, "connector", "", "only of this one")
	c.Flags().StringVar(&prefix, "key-prefix", "", "only those whose key, connector:account:id, begins so")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return c
}

// write writes a reference as a line.
func (r reference) write(w *tabwriter.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r) // which has no tabs
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", plain(r.Key), plain(r.MerchantTransactionID), r.Since.Format(time.RFC3339), plain(r.EventID))
	return err
}

// eachReference calls f with the references, from the partition of key if that
// is connector:account:id, and pause now and then.
func eachReference(c *cobra.Command, key string, f func(reference), pause func()) error {
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	partitions, err := w.reader.Partitions(c.Context(), w.names.References())
	if err != nil {
		return err
	}
	connector, rest, _ := strings.Cut(key, ":")
	if _, known := verify.Lookup(connector); known && strings.Contains(rest, ":") {
		of := kafka.PartitionOf([]byte(key), len(partitions))
		partitions = slices.DeleteFunc(partitions, func(p consume.Partition) bool { return p.Number != of })
	}
	ranges, err := w.reader.Bounds(c.Context(), partitions)
	if err != nil {
		return err
	}
	tell, end := progress(c)
	defer end()
	return lookup.Each(c.Context(), w.reader, ranges, func(done, all int64) {
		if pause(); tell != nil {
			tell(done, all)
		}
	}, func(r consume.Record) {
		if len(r.Value) > 0 {
			f(reference{string(r.Key), string(r.Value), r.Time.UTC(), r.Header(schemas.HeaderEventID)})
		}
	})
}
