package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// logging is how serve writes its log.
type logging struct {
	level  slog.Level
	format string // auto, text or json
}

// handler writes to w: for people where that is a terminal, unless NO_COLOR
// asks for plain text, and as JSON lines otherwise.
func (l logging) handler(w io.Writer) slog.Handler {
	terminal := isTerminal(w)
	if l.format == "json" || l.format == "auto" && !terminal {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l.level})
	}
	return tint.NewTextHandler(w, &tint.Options{
		Level:      l.level,
		TimeFormat: time.TimeOnly + ".000",
		NoColor:    !terminal || os.Getenv("NO_COLOR") != "",
	})
}

// isTerminal reports whether v, a reader or writer, is a terminal.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
