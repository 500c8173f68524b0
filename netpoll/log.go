package netpoll

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// gnetLogger lets gnet write to slog, and remembers the last errors that it
// reported: gnet ends without returning the reason.
type gnetLogger struct {
	log *slog.Logger

	mu     sync.Mutex // guards errors
	errors []string
}

// lastErrors is how many errors are remembered: gnet reports the cause of its
// end and then three times that it ends.
const lastErrors = 4

func (g *gnetLogger) Debugf(format string, args ...any) {
	g.log.Debug("gnet", "text", fmt.Sprintf(format, args...))
}

// Infof logs at debug level: gnet's start-up line is no news to an operator.
func (g *gnetLogger) Infof(format string, args ...any) {
	g.Debugf(format, args...)
}

func (g *gnetLogger) Warnf(format string, args ...any) {
	g.log.Warn("gnet", "text", fmt.Sprintf(format, args...))
}

func (g *gnetLogger) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	g.log.Error("gnet", "text", text)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.errors = append(g.errors, text); len(g.errors) > lastErrors {
		g.errors = g.errors[1:]
	}
}

// reported is the errors remembered, oldest first; "" if there were none.
func (g *gnetLogger) reported() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.errors, "; ")
}

// Fatalf logs and returns; the process is not gnet's to end.
func (g *gnetLogger) Fatalf(format string, args ...any) {
	g.Errorf(format, args...)
}
