package main

import (
	"context"
	"fmt"
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
	reader   *consume.Reader
}

func openKafkaSession(c *cobra.Command) (s kafkaSession, err error) {
	if s.config, err = loadKafkaConfig(c); err != nil {
		return s, err
	}
	if s.producer, err = s.config.producer(); err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), kafkaTimeout)
	defer cancel()
	if s.names, err = s.layout().Existing(ctx, s.producer.Kafka); err != nil {
		return s, err
	}
	if len(s.names.Types) == 0 { // to a user without rights, Kafka does not say that a topic exists
		return s, fmt.Errorf("no topic of an event type is visible at %s with the prefix %q: either they do not exist (check --brokers and --prefix; 'tollbridge topics apply' creates them), or the user is not authorized to read them ('tollbridge topics acls view' prints the rights)",
			strings.Join(s.producer.Kafka.Brokers, ","), s.names.Prefix)
	}
	s.reader = consume.New(s.producer.Kafka)
	s.reader.GiveUpAfter = kafkaTimeout
	return s, nil
}

// topicsAt returns the names of the existing topics with another prefix. It returns an
// error if the topic of an event that the endpoints can report is missing.
func (s kafkaSession) topicsAt(ctx context.Context, prefix string) (kafka.Names, error) {
	layout := s.layout()
	layout.Prefix = prefix
	findings, err := layout.Plan(ctx, s.producer.Kafka)
	for _, f := range findings {
		if !f.Exists {
			return layout.Names, fmt.Errorf("topic %s does not exist; 'tollbridge topics apply --prefix %s' and the same configuration create it", f.Topic, prefix)
		}
	}
	return layout.In(findings), err
}

// kafkaTimeout is how long a command waits for Kafka's answer before it fails.
const kafkaTimeout = 30 * time.Second
