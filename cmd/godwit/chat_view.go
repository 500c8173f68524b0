package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// The width of a line's margin: mark, space, time, space.
const marginWidth = 2 + 1 + 5 + 1

var markText = [...]string{markNone: "  ", markSent: "✓ ", markDelivered: "✓✓", markRead: "◉ ", markRefused: "✗ ", markMention: "@ "}

func margin(e entry) string {
	clock := "     "
	if !e.time.IsZero() {
		clock = e.time.Local().Format("15:04")
	}
	return markText[e.mark] + " " + clock + " "
}

// place is the seq of a message, by which commands name it.
func place(e entry) string {
	if e.seq == 0 {
		return ""
	}
	return fmt.Sprintf("#%d ", e.seq)
}

// maxLine is the longest line that is read, in bytes: more than any server takes
// in a message.
const maxLine = 2 << 20

// newView is for people where both ends are a terminal, and plain otherwise.
// restore must be called in the end.
func newView(in io.Reader, out io.Writer, user string) (v view, restore func(), err error) {
	if !isTerminal(in) || !isTerminal(out) || os.Getenv("TERM") == "dumb" {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, maxLine)
		return &plainView{in: lines, out: out}, func() {}, nil
	}
	tty, screen := in.(*os.File), out.(*os.File)
	old, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return nil, nil, err
	}
	size := func() (int, int) {
		w, h, err := term.GetSize(int(screen.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}
	tv := newTerminalView(tty, screen, size, user, os.Getenv("NO_COLOR") == "")
	return tv, func() {
		tv.leave()
		// Nothing can be done about a terminal that has gone away.
		_ = term.Restore(int(tty.Fd()), old)
	}, nil
}

// plainView prints lines and changes none: an own message is printed when it
// is stored, a line of its own tells of every mark that moves.
type plainView struct {
	in  *bufio.Scanner
	out io.Writer
}

func (v *plainView) ReadLine() (string, int, error) {
	if v.in.Scan() {
		return v.in.Text(), noRow, nil
	}
	if err := v.in.Err(); err != nil {
		return "", noRow, err
	}
	return "", noRow, io.EOF
}

func (v *plainView) Show(e entry) int {
	say(v.out, "%s%s%s: %s\n", margin(e), place(e), e.who, e.text)
	// The seq does for the row's number.
	return int(e.seq)
}

func (v *plainView) Mark(_ int, e entry) {
	what := map[mark]string{markDelivered: "delivered", markRead: "read"}[e.mark]
	if what != "" {
		say(v.out, "%s #%d %s\n", markText[e.mark], e.seq, what)
	}
}

func (v *plainView) Note(text string) {
	say(v.out, "-- %s\n", strings.TrimSpace(text))
}
