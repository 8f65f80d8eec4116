package bench_test

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// asBroker runs the fake broker until standard input ends, if this process was started
// as one. BENCH_ACK is its acknowledgement delay.
func asBroker() {
	if os.Getenv("BENCH_PROCESS") == "broker" {
		exit(broke(os.Getenv("BENCH_ACK")))
	}
}

func broke(acknowledgement string) error {
	delay, err := time.ParseDuration(acknowledgement)
	if err != nil {
		return err
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	defer cluster.Close()
	if delay > 0 {
		// Other connections continue meanwhile. The next request of the same connection
		// waits, as with Apache Kafka.
		cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			cluster.SleepControl(func() { time.Sleep(delay) })
			return nil, nil, false
		})
	}
	fmt.Println(cluster.ListenAddrs()[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
