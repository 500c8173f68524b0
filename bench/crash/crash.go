// Package crash kills a loaded server, again and again, and judges from the
// clients' journals alone whether it kept its promises.
//
// A run starts a real server process on a fresh directory and a fleet of SDK
// clients with durable stores, which write to each other and in groups all the
// time, edit and recall and react to what was written, are in and out of the
// groups, follow a broadcast, change what conversations and other users are to
// them, and are themselves stopped and started now and then. In every round the server is
// killed with SIGKILL at a random moment, sometimes before it is up, and
// started again. In the end the writing stops, everybody catches up, an
// auditor reads every conversation from its beginning, and journal.Check has
// the word.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/bench/node"
)

// Config describes a run.
type Config struct {
	Binary string // of godwit
	Dir    string // empty; for the server's data, the clients' stores and the journals
	Rounds int    // kills
	Seed   uint64 // of all random choices; the timing of the machine remains its own
	// Progress gets a line now and then; not nil.
	Progress io.Writer
}

const (
	users = 4
	// maxUptime is how long a server that has come up lives at the most.
	maxUptime = 1200 * time.Millisecond
	// maxEarly bounds the life of one that is killed on its way up.
	maxEarly   = 200 * time.Millisecond
	earlyShare = 0.2
	// startTimeout is for a server to come up, settleTimeout for all clients to
	// catch up once the killing is over. Both are far above what is normal.
	startTimeout  = 2 * time.Minute
	settleTimeout = 3 * time.Minute
)

// Run does one run. The report is nil if there was nothing to judge; with an
// error there may be both.
func Run(ctx context.Context, cfg Config) (report *journal.Report, err error) {
	log, err := os.Create(filepath.Join(cfg.Dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	addr, err := node.FreeAddr()
	if err != nil {
		return nil, err
	}
	r := &run{
		cfg:    cfg,
		rng:    rand.New(rand.NewPCG(cfg.Seed, 0)),
		server: node.Config{Binary: cfg.Binary, Dir: filepath.Join(cfg.Dir, "data"), Addr: addr, Log: log},
	}
	if err := r.start(); err != nil {
		return nil, err
	}
	defer func() {
		if r.node != nil {
			err = errors.Join(err, r.node.Kill())
		}
	}()
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	fleet, err := newFleet(ctx, cfg, r.server)
	if err != nil {
		return nil, err
	}
	fleet.start(ctx)
	for round := 1; round <= cfg.Rounds && err == nil; round++ {
		err = r.round(ctx, fleet)
		if round%10 == 0 || round == cfg.Rounds {
			fmt.Fprintf(cfg.Progress, "round %d of %d: %s\n", round, cfg.Rounds, fleet)
		}
	}
	if err == nil {
		err = r.ready(ctx)
	}
	// Whatever went wrong so far, the journals are worth reading.
	err = errors.Join(err, fleet.finish(ctx, r.restart))
	journals, loadErr := fleet.journals()
	if loadErr != nil {
		return nil, errors.Join(err, loadErr)
	}
	report = journal.Check(journals)
	return report, errors.Join(err, report.Err())
}

// run is the life of the server, on Run's goroutine.
type run struct {
	cfg    Config
	rng    *rand.Rand
	server node.Config
	node   *node.Node // nil while there is none
}

func (r *run) start() (err error) {
	r.node, err = node.Start(r.server)
	return err
}

func (r *run) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return r.node.Ready(ctx)
}

// restart ends the server in good order and starts it again.
func (r *run) restart(ctx context.Context) error {
	old := r.node
	if old == nil {
		return errors.New("there is no server to restart")
	}
	r.node = nil
	if err := old.Stop(ctx); err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return err
	}
	return r.ready(ctx)
}

// round lets the server live for a random while, kills it and starts it again.
func (r *run) round(ctx context.Context, f *fleet) error {
	life := time.Duration(r.rng.Float64() * float64(maxUptime))
	if r.rng.Float64() < earlyShare {
		life = time.Duration(r.rng.Float64() * float64(maxEarly))
	} else if err := r.ready(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(life):
	case err := <-f.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	dead := r.node
	r.node = nil
	if err := dead.Kill(); err != nil {
		return err
	}
	return r.start()
}
