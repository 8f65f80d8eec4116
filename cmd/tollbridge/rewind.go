package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

func rewindCommand() *cobra.Command {
	var f rewindFlags
	c := &cobra.Command{
		Use:   "rewind GROUP --to TIME|earliest|latest|OFFSET",
		Short: "Move a consumer group, to read events again or to skip them",
		Long: `Move a consumer group's offsets in tollbridge's topics: to a time (RFC 3339,
or an age such as 90m or 7d), to the earliest or latest record, or to an OFFSET
of one partition, which --topics 'TOPIC[PARTITION]' names. Without --topics, the
group is moved in every topic in which it has an offset.

Without --apply, the command only prints the plan. It fails while the group has
members: stop the consumers first. Reading events again does no harm to
consumers that process each event id once.

Exit codes: 0 done, 1 failed, 2 the command line is wrong.`,
		Example: `  tollbridge rewind fulfilment --to 2h
  tollbridge rewind fulfilment --to 2026-01-01T00:00:00Z \
    --topics payment.captured,refund.succeeded --apply
  tollbridge rewind fulfilment --to earliest \
    --topics 'payment.captured[3]' --apply
  tollbridge rewind fulfilment --to 1700 --topics 'payment.captured[3]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	flags := c.Flags()
	sessionFlags(c)
	flags.StringVar(&f.to, "to", "", "the new position: a time, earliest, latest, or an offset (required)")
	flags.StringSliceVar(&f.topics, "topics", nil, "only these: an event type, a topic, or one TOPIC[PARTITION]")
	flags.BoolVar(&f.apply, "apply", false, "move the group")
	flags.BoolVar(&f.json, "json", false, "print the move of each partition as one line of JSON")
	return c
}

// rewindFlags are the flags of `tollbridge rewind`.
type rewindFlags struct {
	to          string
	topics      []string
	apply, json bool
}

func (f rewindFlags) run(c *cobra.Command, group string) error {
	to, err := f.target(time.Now())
	if err != nil {
		return err
	}
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	client, hangUp := w.producer.Kafka.Client()
	defer hangUp()
	mover := groups.Mover{Reader: w.reader, Client: client, Names: w.names}
	moves, err := mover.Plan(c.Context(), group, f.topics, to)
	if wrong := new(groups.InputError); errors.As(err, &wrong) {
		return usage("--%w", err)
	}
	if err != nil {
		return err
	}
	if f.apply {
		if err := mover.Commit(c.Context(), group, moves); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSONLines(c.OutOrStdout(), moves)
	}
	return f.print(c, group, moves)
}

// target parses --to. A number is always an offset, never unix seconds, because offsets
// are typed most often.
func (f rewindFlags) target(now time.Time) (groups.Target, error) {
	switch f.to {
	case "":
		return nil, usage("--to: expected a time, earliest, latest, or an offset, got nothing")
	case "earliest":
		return groups.Earliest, nil
	case "latest":
		return groups.Latest, nil
	}
	if offset, err := strconv.ParseInt(f.to, 10, 64); err == nil {
		return groups.Offset(offset), nil
	}
	at, err := parseTimeOrAge("--to", f.to, now)
	return groups.At(at), err
}

func (f rewindFlags) print(c *cobra.Command, group string, moves []groups.Move) error {
	w := columns(c)
	var again, skipped int64
	for _, m := range moves {
		effect := fmt.Sprintf("%d read again", m.Again)
		from := strconv.FormatInt(m.From, 10)
		switch {
		case m.From < 0:
			from, effect = "none", ""
		case m.Again < 0:
			effect = fmt.Sprintf("%d NEVER READ", -m.Again)
		}
		again, skipped = again+max(0, m.Again), skipped+max(0, -m.Again)
		fmt.Fprintf(w, "%s\t%s → %d\t%s\n", kafka.PartitionText(m.Topic, m.Partition), from, m.To, effect)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	done := "would be moved; --apply does it"
	if f.apply {
		done = "is moved"
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "the group %s %s: %d read again, %d never read\n", oneLine(group), done, again, skipped)
	return err
}
