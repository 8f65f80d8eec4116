package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
)

func tailCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they are written to Kafka",
		Long: `Print events as they are written to Kafka, until you press Ctrl-C. A line has:
when the event was written, its type, the amount, the merchant_transaction_id,
the connector and endpoint, notes, and the receipt, TOPIC[PARTITION]@OFFSET.
At a terminal the fields are aligned; in a pipe, tabs separate them.

Events of one payment and one type come in the order in which they were written;
across partitions and topics there is no order.`,
		Example: `  tollbridge tail
  tollbridge tail --type payment.captured,refund.succeeded --connector stripe
  tollbridge tail --key order-43 --from 7d --exit
  tollbridge tail --from 2026-01-01T00:00:00Z --json | jq .data.amount
  tollbridge tail --received --config tollbridge.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	sessionFlags(c)
	flags.StringSliceVar(&f.types, "type", nil, "only events of these types; see 'tollbridge schemas'")
	flags.StringVar(&f.connector, "connector", "", "only of this connector")
	flags.StringVar(&f.endpoint, "endpoint", "", "only of this endpoint")
	flags.StringVar(&f.key, "key", "", "only of this merchant_transaction_id; reads one partition of each topic")
	flags.StringVar(&f.from, "from", "", "start at this time: RFC 3339, unix seconds, or an age: 90m, 7d (default: now)")
	flags.BoolVar(&f.received, "received", false, "print archived webhooks and dead letters instead of events")
	flags.BoolVar(&f.exit, "exit", false, "exit at the current end of the topics")
	flags.BoolVar(&f.json, "json", false, "print each event as one line of JSON, as it is in Kafka")
	_ = c.RegisterFlagCompletionFunc("type", completeTypes)
	return c
}

// completeTypes offers the event types to the shell's completion.
func completeTypes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return eventTypes(), cobra.ShellCompDirectiveNoFileComp
}

// tailFlags are the flags of `tollbridge tail`.
type tailFlags struct {
	types                          []string
	connector, endpoint, key, from string
	received, exit, json           bool
}

func (f tailFlags) run(c *cobra.Command) error {
	s, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer s.reader.Close()
	ranges, err := f.ranges(c.Context(), s)
	if err != nil {
		return err
	}
	style := styleOf(c.OutOrStdout())
	err = s.reader.Read(c.Context(), ranges, func(chunks []consume.Chunk) error {
		var b bytes.Buffer
		for _, chunk := range chunks {
			for _, r := range chunk.Records {
				if err := f.write(&b, style, s.names, r); err != nil {
					return err
				}
			}
		}
		if f.json {
			_, err := c.OutOrStdout().Write(b.Bytes())
			return err
		}
		return writeTrusted(c.OutOrStdout(), b.String()) // the fields in it went through oneLine
	})
	if errors.Is(err, context.Canceled) && c.Context().Err() != nil {
		return nil // Ctrl-C is no failure
	}
	return err
}

// ranges returns the offsets to read.
func (f tailFlags) ranges(ctx context.Context, s kafkaSession) (map[consume.Partition]consume.Range, error) {
	from, err := parseTimeOrAge("--from", f.from, time.Now())
	if err != nil {
		return nil, err
	}
	topics := s.names.Events()
	if f.received {
		topics = []string{s.names.Received(), s.names.Dead()}
	} else if len(f.types) > 0 {
		topics = nil
		for _, t := range f.types {
			if !schemas.Type(t).Known() {
				return nil, unknownType("--type", t)
			}
			topic := s.names.Event(schemas.Type(t))
			if slices.Contains(s.unauthorized, topic) {
				return nil, fmt.Errorf("--type: %w", kafka.UnauthorizedError(topic))
			}
			if !slices.Contains(s.names.Events(), topic) {
				return nil, usage("--type: the topic %s does not exist: no endpoint that 'tollbridge topics apply' knew reports events of this type", topic)
			}
			topics = append(topics, topic)
		}
	}
	partitions, err := s.reader.Partitions(ctx, topics...)
	if err != nil {
		return nil, err
	}
	if f.key != "" {
		partitions = lookup.PartitionsOf(partitions, f.key)
	}
	var ranges map[consume.Partition]consume.Range
	if from.IsZero() {
		ranges, err = s.reader.Bounds(ctx, partitions)
	} else {
		ranges, err = s.reader.Since(ctx, partitions, from)
	}
	for p, r := range ranges {
		if from.IsZero() {
			r.From = r.To
		}
		if !f.exit {
			r.To = consume.Forever
		}
		ranges[p] = r
	}
	return ranges, err
}

// write writes a record to b, if it matches the filters.
func (f tailFlags) write(b *bytes.Buffer, style style, names kafka.Names, r consume.Record) error {
	i := lookup.Read(names, r)
	if i == nil || f.key != "" && f.key != i.Key {
		return nil
	}
	connector, endpoint := "", ""
	if i.Event != nil {
		connector, endpoint = i.Event.Data.Connector, i.Event.Data.Endpoint
	} else {
		connector, endpoint = i.Webhook.Connector, i.Webhook.Endpoint
	}
	if f.connector != "" && f.connector != connector || f.endpoint != "" && f.endpoint != endpoint {
		return nil
	}
	switch {
	case f.json && i.Event != nil:
		if err := json.Compact(b, schemas.Unframe(r.Value)); err != nil {
			return err
		}
		return b.WriteByte('\n')
	case f.json:
		return writeJSONLine(b, lookup.ItemWithBody{Item: i, Body: i.Webhook.Body})
	}
	colour, fields := describe(i)
	_, err := fmt.Fprintln(b, style.line(colour, fields...))
	return err
}
