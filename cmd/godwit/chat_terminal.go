package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminalView keeps the line being typed below the talk and changes the marks
// of lines that are still on the screen. It uses nothing that a VT100 lacks but
// colour.
//
// Rows are counted from the start and never numbered anew: to change one, the
// cursor goes up by the difference. Where a row may have moved, for the window
// was resized or a line's width is uncertain, all rows so far are given up and
// keep the marks they have.
type terminalView struct {
	term   *term.Terminal
	keys   *keyReader
	out    io.Writer
	size   func() (width, height int)
	prompt string
	colour bool

	mu     sync.Mutex // guards the screen and what follows; taken before term's own lock
	row    int        // the row that the prompt stands in, or would
	lost   int        // rows below this number have moved
	width  int
	height int
}

func newTerminalView(in io.Reader, out io.Writer, size func() (int, int), user string, colour bool) *terminalView {
	v := &terminalView{out: out, size: size, colour: colour}
	v.prompt = strings.Repeat(" ", marginWidth) + user + ": "
	v.keys = &keyReader{in: in, screen: &v.mu, resize: v.resize}
	v.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{v.keys, out}, v.prompt)
	v.resize()
	return v
}

// ReadLine leaves the typed line where it is: with its margin filled in it is
// the message's row. An empty line is taken back.
func (v *terminalView) ReadLine() (string, int, error) {
	text, err := v.term.ReadLine()
	if err != nil {
		v.keys.release()
		return "", noRow, err
	}
	if !v.keys.held {
		v.mu.Lock()
	} else {
		v.keys.held = false
	}
	defer v.mu.Unlock()
	row := v.row
	if text == "" {
		io.WriteString(v.out, "\x1b[A\r\x1b[J") //nolint:errcheck // as below
		return "", noRow, nil
	}
	least, most := cells(v.prompt + text)
	// term breaks the line itself, and also one that just fills its row. Wide
	// letters it takes for narrow ones, so that the terminal may break it too.
	if letters := utf8.RuneCountInString(v.prompt + text); most > letters {
		least, most = least-1, most+most/v.width
		if letters >= v.width {
			most += v.width
		}
	}
	v.advance(least/v.width+1, most/v.width+1)
	return text, row, nil
}

func (v *terminalView) Show(e entry) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resize()
	row := v.row
	plain := margin(e) + place(e) + e.who + ": " + e.text
	v.write(v.paintMargin(e) + v.paint(dim, place(e)) + v.paint(bold, e.who) + ": " + e.text + "\n")
	v.advanceLine(plain)
	return row
}

func (v *terminalView) Note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resize()
	line := strings.Repeat(" ", marginWidth) + text
	v.write(v.paint(dim, line) + "\n")
	v.advanceLine(line)
}

func (v *terminalView) Mark(row int, e entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.resize()
	up := v.row - row
	// The prompt may take a few rows itself when a long line is being typed.
	if row < v.lost || up < 1 || up > v.height-promptRows {
		return
	}
	v.write(fmt.Sprintf("\x1b[%dA\r%s\x1b[%dB\r", up, v.paintMargin(e), up))
}

// promptRows is the room that is left for a line being typed: it stands at the
// bottom of the screen, and rows so far above it are on the screen for sure.
const promptRows = 4

// write puts text where the prompt is and the prompt below it. A failing
// terminal shows in the next ReadLine. v.mu must be held.
func (v *terminalView) write(text string) {
	// term does not know of wide letters and may clear too little of a line
	// that has some.
	_, _ = v.term.Write([]byte("\r\x1b[J" + text))
}

// leave clears the prompt.
func (v *terminalView) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	io.WriteString(v.out, "\r\x1b[J") //nolint:errcheck // the program ends
}

// resize notices that the window has changed. v.mu must be held.
func (v *terminalView) resize() {
	width, height := v.size()
	if width == v.width && height == v.height {
		return
	}
	v.width, v.height = width, height
	v.lost = v.row
	_ = v.term.SetSize(width, height) // fails as write does
}

// advanceLine counts the rows of a line that the terminal broke. v.mu must be
// held.
func (v *terminalView) advanceLine(line string) {
	least, most := cells(line)
	if most > utf8.RuneCountInString(line) {
		most += most / v.width // a wide letter does not fit in the last column of a row
	}
	v.advance((max(least, 1)+v.width-1)/v.width, (max(most, 1)+v.width-1)/v.width)
}

func (v *terminalView) advance(least, most int) {
	v.row += least
	if least != most {
		v.lost = v.row
	}
}

// cells is how many columns a text takes, at the least and at the most:
// terminals differ on some letters.
func cells(s string) (least, most int) {
	for _, r := range s {
		switch {
		case r < 0x300 || r == '✓' || r == '◉' || r == '✗' || r == '↵':
			least, most = least+1, most+1
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
			most++
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) && r < 0xff00,
			0x3000 <= r && r < 0x303f, 0xff01 <= r && r <= 0xff60: // and their punctuation
			least, most = least+2, most+2
		case r < 0x1100:
			least, most = least+1, most+1
		default:
			least, most = least+1, most+2
		}
	}
	return least, most
}

// The colours in use, as SGR parameters.
const (
	bold = "1"
	dim  = "2"
	cyan = "36"
	red  = "31"

	yellow = "33"
)

func (v *terminalView) paint(sgr, text string) string {
	if !v.colour || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (v *terminalView) paintMargin(e entry) string {
	m := margin(e)
	tick, clock, _ := strings.Cut(m, markText[e.mark])
	clock = tick + clock
	sgr := map[mark]string{markRead: cyan, markRefused: red, markMention: yellow}[e.mark]
	if sgr == "" {
		return v.paint(dim, m)
	}
	return v.paint(sgr, markText[e.mark]) + v.paint(dim, clock)
}

// keyReader reads keys for term, at most up to the end of one line at a time,
// and takes the screen before it hands on that end: whatever others have to
// show then comes after the row has been counted.
type keyReader struct {
	in     io.Reader
	screen *sync.Mutex
	resize func() // needs the screen
	rest   []byte
	held   bool // the screen, by the goroutine that reads
}

func (k *keyReader) Read(p []byte) (int, error) {
	k.release() // the end of line was part of something else, of a paste say
	if len(k.rest) == 0 {
		buf := make([]byte, 256)
		n, err := k.in.Read(buf)
		if n == 0 {
			return 0, err
		}
		k.rest = buf[:n]
	}
	chunk := k.rest
	if i := bytes.IndexByte(chunk, '\r'); i >= 0 {
		chunk = chunk[:i+1]
	}
	n := copy(p, chunk)
	k.rest = k.rest[n:]
	k.screen.Lock()
	k.resize()
	if p[n-1] == '\r' {
		k.held = true
	} else {
		k.screen.Unlock()
	}
	return n, nil
}

func (k *keyReader) release() {
	if k.held {
		k.held = false
		k.screen.Unlock()
	}
}
