package main

import (
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
	s.names = s.layout().Names
	s.reader = consume.New(s.producer.Kafka)
	s.reader.GiveUpAfter = kafkaTimeout
	return s, nil
}

// kafkaTimeout is how long a command waits for Kafka's answer before it fails.
const kafkaTimeout = 30 * time.Second
