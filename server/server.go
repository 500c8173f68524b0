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
	log      *chat.Embedded
	gateway  *gateway
	net      *netpoll.Server
	admin    *admin.Admin

	stop    sync.Once // the first Shutdown or Close does the work
	stopped chan struct{}
	err     error // why the server stopped; set before stopped is closed
}

// New opens the store and assembles a node that does not listen yet. After an
// error nothing is left open. cfg is the Server's from here on.
func New(cfg Config) (_ *Server, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{cfg: cfg, logger: cfg.Logger, stopped: make(chan struct{})}
	metrics := admin.NewMetrics()
	cfg.Store.Logger = cfg.Logger
	cfg.Store.ObserveSync = metrics.ObserveSync
	verifier, err := session.NewVerifier(cfg.Auth)
	if err != nil {
		return nil, err
	}

	if s.store, err = msgstore.Open(cfg.Store); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeStore())
		}
	}()

	if cfg.Net.Loops == 0 {
		cfg.Net.Loops = runtime.GOMAXPROCS(0)
	}
	cfg.Session.Loops = cfg.Net.Loops
	cfg.Session.Tick = cfg.Net.Tick
	cfg.Session.MaxFrame = cfg.Net.MaxFrame
	cfg.Session.Logger = cfg.Logger
	if s.sessions, err = session.NewManager(cfg.Session, verifier, s.store.Epoch()); err != nil {
		return nil, err
	}
	cfg.Delivery.MaxFrame = cfg.Net.MaxFrame
	cfg.Delivery.Logger = cfg.Logger
	cfg.Delivery.ObserveAck = metrics.ObserveAck
	cfg.Delivery.ObserveDelivery = metrics.ObserveDelivery
	cfg.Delivery.ObserveSync = metrics.ObserveSyncRequest
	if s.delivery, err = delivery.New(cfg.Delivery, s.store, s.sessions); err != nil {
		return nil, err
	}
	cfg.Chat.Logger = cfg.Logger
	cfg.Chat.ObserveBatch = metrics.ObserveBatch
	if s.log, err = chat.NewEmbedded(cfg.Chat, s.store, s.delivery); err != nil {
		s.delivery.Close()
		return nil, err
	}
	s.gateway = &gateway{
		sessions: s.sessions,
		log:      s.log,
		delivery: s.delivery,
		maxBody:  cfg.Session.MaxBody,
		now:      time.Now,
		logger:   cfg.Logger,
	}
	cfg.Net.Logger = cfg.Logger
	if s.net, err = netpoll.New(cfg.Net, s.gateway); err != nil {
		return nil, errors.Join(err, s.closeLog(context.Background()))
	}
	if s.admin, err = admin.New(cfg.Admin, metrics, s.source(), cfg.Logger); err != nil {
		return nil, errors.Join(err, s.closeLog(context.Background()))
	}
	return s, nil
}

// Start opens the listeners: clients are served when it returns. After an
// error the Server is closed.
func (s *Server) Start() error {
	if err := s.admin.Start(); err != nil {
		return errors.Join(err, s.closeLog(context.Background()), s.closeStore())
	}
	if err := s.net.Start(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return errors.Join(err, s.admin.Close(ctx), s.closeLog(ctx), s.closeStore())
	}
	go s.watch()
	return nil
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
	return errors.Join(
		s.net.Stop(ctx),
		s.admin.Close(ctx),
		s.closeLog(ctx),
		s.closeStore(),
	)
}

func (s *Server) closeLog(ctx context.Context) error {
	err := s.log.Close(ctx)
	s.delivery.Close()
	return err
}

func (s *Server) closeStore() error {
	return s.store.Close()
}

func (s *Server) finish(err error) {
	s.err = err
	close(s.stopped)
}
