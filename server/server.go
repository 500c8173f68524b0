package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/server/admin"
	"github.com/godwit-im/godwit/session"
)

// Server is one node: the store, the command log, the sessions and the
// listeners. Make one with New, then call Start and, in the end, Shutdown or
// Close. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	logger   *slog.Logger
	store    *msgstore.Store
	sessions *session.Manager
	delivery *delivery.Delivery
	presence *presence.Presence
	log      *chat.Embedded
	gateway  *gateway
	net      *netpoll.Server
	admin    *admin.Admin

	stop    sync.Once // the first Shutdown or Close does the work
	stopped chan struct{}
	err     error // why the server stopped; set before stopped is closed
}

// New opens the store and assembles a node that does not listen yet. After an
// error nothing is left open.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Net.Loops == 0 {
		cfg.Net.Loops = runtime.GOMAXPROCS(0)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	for _, now := range []*func() time.Time{&cfg.Net.Now, &cfg.Session.Now, &cfg.Auth.Now, &cfg.Presence.Now} {
		if *now == nil {
			*now = cfg.Now
		}
	}
	verifier, err := session.NewVerifier(cfg.Auth)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, logger: cfg.Logger, stopped: make(chan struct{})}
	metrics := admin.NewMetrics()
	cfg.Store.Logger = cfg.Logger
	cfg.Store.ObserveSync = metrics.ObserveSync
	if s.store, err = msgstore.Open(cfg.Store); err != nil {
		return nil, err
	}
	if err := s.assemble(cfg, verifier, metrics); err != nil {
		return nil, errors.Join(err, s.closeStorage(context.Background()))
	}
	return s, nil
}

// assemble makes the parts on top of the store, each from its part of cfg and
// what it has to know of the others.
func (s *Server) assemble(cfg Config, verifier *session.Verifier, metrics *admin.Metrics) (err error) {
	cfg.Session.Loops = cfg.Net.Loops
	cfg.Session.Tick = cfg.Net.Tick
	cfg.Session.MaxFrame = cfg.Net.MaxFrame
	cfg.Session.Logger = cfg.Logger
	cfg.Session.Changed = func(user string) { s.presence.Changed(user) } // which is there before the first session
	if s.sessions, err = session.NewManager(cfg.Session, verifier, s.store.Epoch()); err != nil {
		return err
	}
	cfg.Delivery.MaxFrame = cfg.Net.MaxFrame
	cfg.Delivery.Loops = cfg.Net.Loops
	cfg.Delivery.Post = func(loop int, f func()) { s.net.Post(loop, f) } // only for connections, which are there later
	cfg.Delivery.Rules = &s.cfg.Chat.Rules
	cfg.Delivery.Logger = cfg.Logger
	cfg.Delivery.ObserveAck = metrics.ObserveAck
	cfg.Delivery.ObserveDelivery = metrics.ObserveDelivery
	cfg.Delivery.ObserveSync = metrics.ObserveSyncRequest
	if s.delivery, err = delivery.New(cfg.Delivery, s.store, s.sessions); err != nil {
		return err
	}
	cfg.Chat.Logger = cfg.Logger
	cfg.Chat.ObserveBatch = metrics.ObserveBatch
	if s.log, err = chat.NewEmbedded(cfg.Chat, s.store, s.delivery); err != nil {
		return err
	}
	cfg.Presence.MaxFrame = cfg.Net.MaxFrame
	cfg.Presence.Rules = cfg.Chat.Rules
	cfg.Presence.Logger = cfg.Logger
	if s.presence, err = presence.New(cfg.Presence, s.store, s.sessions, s.log); err != nil {
		return err
	}
	s.gateway = &gateway{
		sessions: s.sessions,
		log:      s.log,
		delivery: s.delivery,
		presence: s.presence,
		maxBody:  cfg.Session.MaxBody,
		limits:   limits{store: s.store, rules: &s.cfg.Chat.Rules},
		invites:  invites{most: cfg.Chat.Rules.InvitesPerMinute},
		now:      cfg.Session.Now,
		logger:   cfg.Logger,
	}
	cfg.Net.Logger = cfg.Logger
	if s.net, err = netpoll.New(cfg.Net, s.gateway); err != nil {
		return err
	}
	s.admin, err = admin.New(cfg.Admin, metrics, s.source(), cfg.Logger)
	return err
}

// Start opens the listeners: clients are served when it returns. After an
// error the Server is closed.
func (s *Server) Start() error {
	err := s.admin.Start()
	if err == nil {
		if err = s.net.Start(); err == nil {
			go s.watch()
			go trim(s.stopped)
			return nil
		}
	}
	s.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastMoment)
		defer cancel()
		if s.admin.Addr() != nil {
			err = errors.Join(err, s.admin.Close(ctx))
		}
		err = errors.Join(err, s.closeStorage(ctx))
		s.finish(err)
	})
	return err
}

// watch turns an end of the event loops that nobody asked for, out of
// descriptors say, into the end of the server: a process that listens to
// nobody must not look alive.
func (s *Server) watch() {
	<-s.net.Done()
	s.stop.Do(func() {
		err := fmt.Errorf("the event loops ended: %w", s.net.Err())
		s.logger.Error("server failed", "err", err)
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain.Timeout)
		defer cancel()
		s.finish(errors.Join(err, s.closeAll(ctx)))
	})
}

// Addr is the address that clients connect to; valid after Start.
func (s *Server) Addr() string { return s.net.Addr().String() }

// AdminAddr is the address of the admin listener; valid after Start.
func (s *Server) AdminAddr() string { return s.admin.Addr().String() }

// Epoch is the store's epoch.
func (s *Server) Epoch() uint64 { return s.store.Epoch() }

// Backup writes a checkpoint of the store to dir, which must not exist, while
// the server goes on. A server that is started on the copy has a new epoch.
func (s *Server) Backup(dir string) error { return s.store.Checkpoint(dir) }

// Done is closed when the server has stopped: after Shutdown or Close, or
// because it failed. Err then says why; nil after an orderly stop.
func (s *Server) Done() <-chan struct{} { return s.stopped }

// Err is the reason for the stop; valid once Done is closed.
func (s *Server) Err() error { return s.err }

// Close ends the server without a drain: what was accepted is still stored,
// but nobody is told to reconnect later and connections are cut.
func (s *Server) Close() error {
	s.stop.Do(func() {
		s.gateway.draining.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain.Timeout)
		defer cancel()
		s.finish(s.closeAll(ctx))
	})
	<-s.stopped
	return s.err
}

// closeAll takes the server apart from the outside in, so that no part calls
// one that is closed already.
func (s *Server) closeAll(ctx context.Context) error {
	return errors.Join(s.net.Stop(ctx), s.admin.Close(ctx), s.closeStorage(ctx))
}

// closeStorage closes the command log, and the store once nobody uses it. A log
// that ctx ran out on has a writer in a commit that hangs: then the store is
// left as it is, for the end of the process, and the next start reads what was
// synced.
func (s *Server) closeStorage(ctx context.Context) error {
	if s.presence != nil {
		s.presence.Close()
	}
	if s.log != nil {
		if err := s.log.Close(ctx); err != nil {
			return fmt.Errorf("the store was left open: %w", err)
		}
	}
	if s.delivery != nil {
		s.delivery.Close()
	}
	return s.store.Close()
}

func (s *Server) finish(err error) {
	s.err = err
	close(s.stopped)
}
