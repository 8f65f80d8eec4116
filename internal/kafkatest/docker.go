package kafkatest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	moby "github.com/moby/moby/api/types/container"
	mobynet "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/network"
)

const image = "apache/kafka:" + version

// viaDocker runs each broker in a container; the containers share a network.
func viaDocker(o Options) (_ *Cluster, err error) {
	brokers := o.Brokers
	if err := engineHasImage(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	net, err := network.New(ctx)
	if err != nil {
		return nil, unavailablef("a Docker engine that makes no network: %v", err)
	}
	c := &Cluster{detail: image, tidy: func() error { return net.Remove(context.Background()) }}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	var ids []int
	for i, port := range freePorts(brokers) {
		ids = append(ids, i+1)
		started, err := runContainer(ctx, i+1, brokers, port, net)
		c.nodes = append(c.nodes, container{started})
		if err != nil {
			return nil, unavailablef("a Docker engine that cannot run %s: %v", image, err)
		}
		c.bootstrap = append(c.bootstrap, loopback(port))
	}
	return c, c.ready(brokers, ids...)
}

// engineHasImage connects to the Docker engine, and pulls the image if the engine does not have it.
func engineHasImage() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	engine, err := dockerEngine(ctx)
	if err != nil {
		return unavailable("no Docker engine")
	}
	defer engine.Close()
	if _, err := engine.ImageInspect(ctx, image); err == nil {
		return nil
	}
	// The pull goes to the engine directly: without a network, testcontainers would retry
	// it for a quarter of an hour.
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	pull, err := engine.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		err = pull.Wait(ctx)
	}
	if err != nil {
		return unavailablef("a Docker engine that neither has nor can pull %s: %v", image, err)
	}
	return nil
}

func dockerEngine(ctx context.Context) (*testcontainers.DockerClient, error) {
	// Without this check testcontainers would try other engines than the one that
	// DOCKER_HOST names.
	if os.Getenv("DOCKER_HOST") != "" {
		named, err := client.New(client.FromEnv)
		if err == nil {
			defer named.Close()
			_, err = named.Ping(ctx, client.PingOptions{})
		}
		if err != nil {
			return nil, err
		}
	}
	return testcontainers.NewDockerClientWithOpts(ctx)
}

func runContainer(ctx context.Context, id, brokers, hostPort int, net *testcontainers.DockerNetwork) (testcontainers.Container, error) {
	name := func(id int) string { return "kafka" + strconv.Itoa(id) }
	var voters []string
	for v := 1; v <= brokers; v++ {
		voters = append(voters, fmt.Sprintf("%d@%s:9093", v, name(v)))
	}
	s := settings(id, voters)
	s["listeners"] = "CLIENT://:9092,CONTROLLER://:9093,PEER://:9094"
	s["advertised.listeners"] = fmt.Sprintf("CLIENT://%s,PEER://%s:9094", loopback(hostPort), name(id))
	env := map[string]string{"KAFKA_HEAP_OPTS": "-Xmx512m"}
	for key, value := range s {
		env["KAFKA_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = value
	}
	return testcontainers.Run(ctx, image,
		testcontainers.WithEnv(env),
		testcontainers.WithExposedPorts("9092/tcp"),
		testcontainers.WithLogger(log.NewNoopLogger()),
		network.WithNetwork([]string{name(id)}, net),
		testcontainers.WithHostConfigModifier(func(h *moby.HostConfig) {
			// A broker advertises its address to clients, so the port must be known before
			// the broker starts.
			h.PortBindings = mobynet.PortMap{mobynet.MustParsePort("9092/tcp"): {
				{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(hostPort)},
			}}
		}))
}

type container struct{ testcontainers.Container }

func (c container) running() bool {
	state, err := c.State(context.Background())
	return err != nil || state.Running // an engine that does not answer says nothing about the broker
}

func (c container) log() string {
	logs, err := c.Logs(context.Background())
	if err != nil {
		return err.Error()
	}
	defer logs.Close()
	text, _ := io.ReadAll(logs)
	return tail(string(text))
}

func (c container) end() error {
	return testcontainers.TerminateContainer(c.Container, testcontainers.StopTimeout(0))
}
