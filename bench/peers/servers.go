package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/hooks/storage/pebble"
	"github.com/mochi-mqtt/server/v2/listeners"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startMosquitto starts Debian's mosquitto with persistence and the given lines
// of configuration about when it saves.
func startMosquitto(autosave string) func(context.Context, string) (*server, error) {
	return func(ctx context.Context, dir string) (*server, error) {
		c, addr, err := startChild(ctx, dir, func(addr netip.AddrPort) (*exec.Cmd, error) {
			binary, err := lookMosquitto()
			if err != nil {
				return nil, err
			}
			config := filepath.Join(dir, "mosquitto.conf")
			// user: as root it would change to a user who cannot write to dir.
			text := fmt.Sprintf("listener %d %s\nallow_anonymous true\nuser root\npersistence true\npersistence_location %s/\n"+
				"max_connections -1\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n%s",
				addr.Port(), addr.Addr(), dir, autosave)
			return exec.Command(binary, "-c", config), os.WriteFile(config, []byte(text), 0o600)
		})
		if err != nil {
			return nil, err
		}
		return &server{process: c, addr: addr, dialect: newMQTTClient}, nil
	}
}

// lookMosquitto finds the binary also where a user's PATH has no sbin.
func lookMosquitto() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("mosquitto is not installed: run .ci/deps-peers as root, or install the package yourself")
}

// serveVariable asks this program to be the named server instead; its one
// argument says where.
const serveVariable = "GODWIT_PEERS_SERVE"

// serveInstead is called first by main. Where this process was started as a
// peer's server it serves until it is killed.
func serveInstead() {
	var err error
	switch os.Getenv(serveVariable) {
	case "":
		return
	case "nats":
		err = serveNATS(os.Args[1])
	case "mochi":
		err = serveMochi(os.Args[1], os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("%s: no such server", serveVariable)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// again is the command that runs this program as a server.
func again(name string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), serveVariable+"="+name)
	return cmd, nil
}

// jetStream is how nats-server is set up.
type jetStream struct {
	settings         string // lines of the jetstream block
	streams          int    // to spread the users over
	consumersInFiles bool
}

func (j jetStream) start() func(context.Context, string) (*server, error) {
	return func(ctx context.Context, dir string) (*server, error) {
		c, addr, err := startChild(ctx, dir, func(addr netip.AddrPort) (*exec.Cmd, error) {
			config := filepath.Join(dir, "nats.conf")
			text := fmt.Sprintf("listen: %q\njetstream {\n  store_dir: %q\n  %s\n}\n", addr, filepath.Join(dir, "data"), j.settings)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				return nil, err
			}
			return again("nats", config)
		})
		if err != nil {
			return nil, err
		}
		if err := makeStreams(ctx, addr, j.streams); err != nil {
			return nil, errors.Join(err, c.Kill())
		}
		place := func(user string) (subject, stream string) {
			h := fnv.New32a()
			_, _ = h.Write([]byte(user)) // never fails
			stream = streamName(int(h.Sum32() % uint32(j.streams)))
			return "im." + stream + "." + user, stream
		}
		return &server{process: c, addr: addr, dialect: func(l link, o owner) (client, error) {
			return &natsClient{link: l, owner: o, place: place, consumersInFiles: j.consumersInFiles}, nil
		}}, nil
	}
}

func serveNATS(config string) error {
	opts, err := natsserver.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	opts.NoSigs = true
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	return nil
}

func streamName(i int) string { return "S" + strconv.Itoa(i) }

// makeStreams creates streams in files, not replicated, that keep everything.
func makeStreams(ctx context.Context, addr netip.AddrPort, streams int) error {
	nc, err := nats.Connect("nats://" + addr.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range streams {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name:     streamName(i),
			Subjects: []string{"im." + streamName(i) + ".>"},
			Storage:  jetstream.FileStorage,
			Replicas: 1,
			// The default, 1,000, is short of a crowd.
			MaxConsumers: 100_000,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// startMochi starts mochi-mqtt with its Pebble hook, whose mode is Sync or
// NoSync.
func startMochi(mode string) func(context.Context, string) (*server, error) {
	return func(ctx context.Context, dir string) (*server, error) {
		c, addr, err := startChild(ctx, dir, func(addr netip.AddrPort) (*exec.Cmd, error) {
			return again("mochi", addr.String(), filepath.Join(dir, "data"), mode)
		})
		if err != nil {
			return nil, err
		}
		return &server{process: c, addr: addr, dialect: newMQTTClient}, nil
	}
}

func serveMochi(addr, dir, mode string) error {
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := s.AddHook(new(pebble.Hook), &pebble.Options{Mode: mode, Path: dir}); err != nil {
		return err
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: addr})); err != nil {
		return err
	}
	return s.Serve()
}
