package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

// sessionFlags adds the flags of commands that need only the connection to Kafka from
// the configuration.
func sessionFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringP("config", "c", "", "the server's configuration file (YAML)")
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
}

// kafkaSession is a command's configuration and its connection to Kafka. Secrets of
// endpoints are read only if the command calls [config.endpoints]. The caller must
// close the reader.
type kafkaSession struct {
	config
	producer publish.Config
	names    kafka.Names
	// unauthorized are the event topics that the user may not read. They are left out of
	// names.
	unauthorized []string
	reader       *consume.Reader
	// scratch is the folder of a history that is read for one job, and removed after it;
	// empty is a new one in the system's folder for temporary files.
	scratch string
}

// openKafkaSession connects to Kafka. It returns an error if there is no event topic to
// read, and prints a warning if there are some that the user may not read.
func openKafkaSession(c *cobra.Command) (kafkaSession, error) {
	cfg, err := loadKafkaConfig(c)
	if err != nil {
		return kafkaSession{}, err
	}
	return openSession(c, cfg)
}

// openSession is [openKafkaSession] for a configuration that was read.
func openSession(c *cobra.Command, cfg config) (s kafkaSession, err error) {
	s.config = cfg
	if s.producer, err = s.config.producer(); err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), kafkaTimeout)
	defer cancel()
	if s.names, s.unauthorized, err = s.layout().Existing(ctx, s.producer.Kafka); err != nil {
		return s, err
	}
	switch {
	case len(s.names.Types) > 0 && len(s.unauthorized) > 0:
		fmt.Fprintln(folded(c.ErrOrStderr()), "warning: what follows may be incomplete:", s.checkAuthorized())
	case len(s.unauthorized) > 0:
		return s, s.checkAuthorized()
	case len(s.names.Types) == 0:
		return s, fmt.Errorf("%s has no event topic with the prefix %q: check --brokers and --prefix; 'tollbridge topics apply' creates the topics",
			strings.Join(s.producer.Kafka.Brokers, ","), s.names.Prefix)
	}
	s.reader = consume.New(s.producer.Kafka)
	s.reader.GiveUpAfter = kafkaTimeout
	return s, nil
}

// checkAuthorized returns an error if the user may not read all event topics.
func (s kafkaSession) checkAuthorized() error {
	if len(s.unauthorized) == 0 {
		return nil
	}
	return fmt.Errorf("the user is not authorized to read %d event topics: %s; 'tollbridge topics acls view' prints the rights", len(s.unauthorized), few(s.unauthorized))
}

// topicsAt returns the names of the existing topics with another prefix, which may have
// another number of partitions. It returns an error if the topic of an event that the
// endpoints can report is missing, or if events could be lost in it. It calls warn with each
// topic whose settings differ from the layout.
func (s kafkaSession) topicsAt(ctx context.Context, prefix string, warn func(topic, drift string)) (kafka.Names, error) {
	layout := s.layout()
	layout.Prefix, layout.Partitions = prefix, 0 // the number that they have
	return checkTopics(ctx, layout, s.producer.Kafka, warn)
}

// checkTopics returns the names of the topics, with the event types whose topics exist.
// It returns an error if a topic is missing or events could be lost in it, and calls warn
// with each topic whose settings differ from the layout. The error wraps
// [kafka.ErrUnavailable] if Kafka cannot be asked.
func checkTopics(ctx context.Context, layout kafka.Layout, to kafka.Config, warn func(topic, drift string)) (kafka.Names, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	findings, err := layout.Plan(ctx, to)
	if err != nil {
		return layout.Names, fmt.Errorf("%w: checking the topics: %w", kafka.ErrUnavailable, err)
	}
	var errs []error
	var missing []string
	wrong := map[string][]string{} // topics by finding
	for _, f := range findings {
		switch {
		case !f.Exists:
			missing = append(missing, f.Topic)
		case f.Wrong:
			wrong[f.Drift] = append(wrong[f.Drift], f.Topic)
		case f.Drift != "":
			warn(f.Topic, f.Drift)
		}
	}
	for _, drift := range slices.Sorted(maps.Keys(wrong)) {
		if names := wrong[drift]; len(names) == 1 {
			errs = append(errs, fmt.Errorf("topic %s %s", names[0], drift))
		} else {
			errs = append(errs, fmt.Errorf("%d topics (%s) %s", len(names), few(names), ofMany(drift)))
		}
	}
	if len(missing) > 0 {
		command := "tollbridge topics apply"
		if layout.Prefix != "" {
			command += " --prefix " + layout.Prefix
		}
		errs = append(errs, fmt.Errorf("topics are missing: %s; create them with '%s' and the same configuration", strings.Join(missing, ", "), command))
	}
	return layout.In(findings), errors.Join(errs...)
}

// kafkaTimeout is how long a command waits for Kafka's answer before it fails.
const kafkaTimeout = 30 * time.Second
