package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// say prints what is good to know and no command's result: if it cannot be
// written, nobody was reading.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// harmless replaces what a terminal would act on or hide, line breaks
// included: a message must not be able to forge the lines around it.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '↵'
		case r == '\t':
			return ' '
		// Cf holds the marks that turn the direction of text around, and the
		// joiners that emoji are made with.
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r) && r != '\u200d':
			return '\ufffd'
		case unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return '↵'
		}
		return r
	}, s)
}
