// Package admin is the operator's side of a server: an HTTP listener on the
// loopback address with health, metrics, profiles and backup. It carries no
// client traffic and no authentication: whoever reaches it is the operator,
// which is why it refuses to listen anywhere else unless it is told to.
//
//	GET  /healthz      200 while the process runs
//	GET  /readyz       200, or 503 and the reason, when it should get no new clients
//	GET  /metrics      Prometheus text; docs/OPERATIONS.md explains every metric
//	POST /backup?dir=  an online checkpoint into a directory that must not exist
//	GET  /debug/pprof  Go profiles, with Config.Pprof
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Config is what an operator may set.
type Config struct {
	// Addr is host:port with the host as an IP address or "localhost".
	// Default 127.0.0.1:7411; port 0 takes a free one.
	Addr string
	// AllowRemote permits an Addr that other machines can reach. They can then
	// read the metrics and write backups to any directory the server can.
	AllowRemote bool
	// Pprof serves /debug/pprof.
	Pprof bool
}

// DefaultConfig listens on 127.0.0.1:7411 without profiles.
func DefaultConfig() Config {
	return Config{Addr: "127.0.0.1:7411"}
}

// Validate says what is wrong with c, or nil.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.Addr, err)
	}
	if !isLoopback(host) && !c.AllowRemote {
		return fmt.Errorf("admin address %q is not a loopback address; it has no authentication, so remote access must be allowed explicitly", c.Addr)
	}
	return nil
}

// Admin is the listener. Its methods may be called from any goroutine.
type Admin struct {
	cfg    Config
	src    Source
	log    *slog.Logger
	http   *http.Server
	addr   net.Addr      // set by Start
	done   chan struct{} // closed when the serving goroutine has ended
	backup sync.Mutex    // held while a backup runs
}

// New prepares the listener; Start opens it.
func New(cfg Config, m *Metrics, src Source, log *slog.Logger) (*Admin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Admin{cfg: cfg, src: src, log: log, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, status{Status: "ok"})
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", m.handler(src))
	mux.HandleFunc("POST /backup", a.backupTo)
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // long lists of addresses
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	a.http = &http.Server{
		Handler:           a.onlyOperator(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return a, nil
}

// Start listens; requests are served when it returns.
func (a *Admin) Start() error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", a.cfg.Addr)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	a.addr = ln.Addr()
	go func() {
		defer close(a.done)
		if err := a.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("admin listener ended", "err", err)
		}
	}()
	return nil
}

// Addr is the address it listens on; valid after Start.
func (a *Admin) Addr() net.Addr { return a.addr }

// Close lets running requests end until ctx does, then cuts them. It must
// follow a successful Start.
func (a *Admin) Close(ctx context.Context) error {
	err := a.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, a.http.Close())
	}
	<-a.done
	return err
}

// onlyOperator keeps web pages that the operator visits away from the
// listener: a cross-site POST is refused by its Origin, and a page whose own
// name was rebound to 127.0.0.1 by its Host.
func (a *Admin) onlyOperator(next http.Handler) http.Handler {
	byHost := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]") // no port
		}
		if !isLoopback(host) && !a.cfg.AllowRemote {
			answer(w, http.StatusForbidden, status{Error: "the Host header must name the loopback address"})
			return
		}
		next.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(byHost)
}

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.src.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, status{Status: "not ready", Error: err.Error()})
		return
	}
	answer(w, http.StatusOK, status{Status: "ready"})
}

func (a *Admin) backupTo(w http.ResponseWriter, r *http.Request) {
	dir := r.URL.Query().Get("dir")
	if !filepath.IsAbs(dir) {
		// The server's working directory is not the operator's.
		answer(w, http.StatusBadRequest, status{Error: "dir must be an absolute path on the server's machine"})
		return
	}
	if !a.backup.TryLock() {
		answer(w, http.StatusConflict, status{Error: "another backup is running"})
		return
	}
	defer a.backup.Unlock()
	// A large checkpoint may take longer than any other answer should.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // net/http's own writer supports it
	start := time.Now()
	err := a.src.Backup(dir)
	switch {
	case errors.Is(err, fs.ErrExist):
		answer(w, http.StatusConflict, status{Error: fmt.Sprintf("%s exists; a backup needs a directory of its own", dir)})
	case err != nil:
		a.log.Error("backup failed", "dir", dir, "err", err)
		answer(w, http.StatusInternalServerError, status{Error: err.Error()})
	default:
		took := time.Since(start)
		a.log.Info("backup written", "dir", dir, "took", took)
		answer(w, http.StatusOK, status{Status: "ok", Dir: dir, TookMs: took.Milliseconds()})
	}
}

// status is the body of every answer but metrics and profiles.
type status struct {
	Status string `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	Dir    string `json:"dir,omitempty"`
	TookMs int64  `json:"took_ms,omitempty"`
}

func answer(w http.ResponseWriter, code int, s status) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(s) // a failure here is the client's own going away
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
