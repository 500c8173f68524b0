package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is a terminal of a fixed size that understands what terminalView
// sends, with its autowrap: a letter in the last column leaves the cursor
// there, and the next one goes to the next row.
type screen struct {
	mu            sync.Mutex // guards all
	width, height int
	cells         [][]rune // every row since the start
	x, y          int      // y counts from the first row of cells
	escape        []rune   // the sequence being read, nil outside one
	written       chan struct{}
}

func newScreen(width, height int) *screen {
	return &screen{width: width, height: height, cells: [][]rune{nil}, written: make(chan struct{}, 1)}
}

func (s *screen) size() (int, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width, s.height
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range string(p) {
		s.put(r)
	}
	select {
	case s.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) top() int { return max(0, len(s.cells)-s.height) }

func (s *screen) put(r rune) {
	switch {
	case s.escape != nil:
		s.escape = append(s.escape, r)
		if r != '[' && (r < '0' || r > '9') && r != ';' {
			s.control()
			s.escape = nil
		}
	case r == 0x1b:
		s.escape = []rune{}
	case r == '\r':
		s.x = 0
	case r == '\n':
		s.down(1, true)
	default:
		wide := 1
		if r >= 0x4e00 && r < 0xa000 || r == '，' {
			wide = 2
		}
		if s.x+wide > s.width {
			s.x = 0
			s.down(1, true)
		}
		for range wide {
			for len(s.cells[s.y]) <= s.x {
				s.cells[s.y] = append(s.cells[s.y], ' ')
			}
			s.cells[s.y][s.x] = r
			s.x++
		}
	}
}

func (s *screen) down(n int, scroll bool) {
	for range n {
		if s.y+1 == len(s.cells) {
			if !scroll {
				return
			}
			s.cells = append(s.cells, nil)
		}
		s.y++
	}
}

func (s *screen) control() {
	n := 1
	fmt.Sscanf(string(s.escape[1:]), "%d", &n)
	switch s.escape[len(s.escape)-1] {
	case 'A':
		s.y = max(s.top(), s.y-n)
	case 'B':
		s.down(n, false)
	case 'C':
		s.x = min(s.width-1, s.x+n)
	case 'D':
		s.x = max(0, min(s.x, s.width-1)-n)
	case 'K':
		s.cells[s.y] = s.cells[s.y][:min(s.x, len(s.cells[s.y]))]
	case 'J':
		s.cells[s.y] = s.cells[s.y][:min(s.x, len(s.cells[s.y]))]
		for y := s.y + 1; y < len(s.cells); y++ {
			s.cells[y] = nil
		}
	case 'm':
	default:
		panic(fmt.Sprintf("the screen does not know %q", string(s.escape)))
	}
}

// text is all rows since the start, without the blanks at their ends.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := make([]string, len(s.cells))
	for i, row := range s.cells {
		rows[i] = strings.TrimRight(strings.ReplaceAll(string(row), "\x00", ""), " ")
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}

// await waits until the screen shows want.
func (s *screen) await(t *testing.T, want string) {
	t.Helper()
	limit := time.After(time.Minute)
	for s.text() != want {
		select {
		case <-s.written:
		case <-limit:
			t.Fatalf("the screen shows\n%s\n\nwant\n%s", s.text(), want)
		}
	}
}

// typist is a terminalView on a screen with somebody typing.
type typist struct {
	t      *testing.T
	screen *screen
	view   *terminalView
	keys   io.Writer
	lines  chan input
}

func newTypist(t *testing.T, width, height int) *typist {
	s := newScreen(width, height)
	in, keys := io.Pipe()
	ty := &typist{t, s, newTerminalView(in, s, s.size, "alice", false), keys, make(chan input, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			text, row, err := ty.view.ReadLine()
			if err != nil {
				return
			}
			ty.lines <- input{text: text, row: row}
		}
	}()
	t.Cleanup(func() {
		keys.Close()
		<-done
	})
	return ty
}

func (ty *typist) typed(text string) {
	ty.t.Helper()
	if _, err := io.WriteString(ty.keys, text); err != nil {
		ty.t.Fatal(err)
	}
}

func at(m mark, who, text string) entry {
	return entry{mark: m, time: time.Date(2026, 1, 2, 15, 4, 0, 0, time.Local), who: who, text: text}
}

func TestTerminalMarksInPlace(t *testing.T) {
	ty := newTypist(t, 40, 10)
	ty.view.Note("welcome")
	ty.typed("hello\r")
	hello := <-ty.lines
	ty.view.Show(at(markNone, "bob", "hi there"))
	ty.typed("half a li")
	ty.screen.await(t, `
         welcome
         alice: hello
   15:04 bob: hi there
         alice: half a li`[1:])

	ty.view.Mark(hello.row, at(markSent, "alice", "hello"))
	ty.view.Show(at(markNone, "bob", "are you there?"))
	ty.view.Mark(hello.row, at(markRead, "alice", "hello"))
	ty.typed("ne\r")
	line := <-ty.lines
	if line.text != "half a line" {
		t.Errorf("read %q", line.text)
	}
	ty.view.Mark(line.row, at(markDelivered, "alice", ""))
	ty.screen.await(t, `
         welcome
◉  15:04 alice: hello
   15:04 bob: hi there
   15:04 bob: are you there?
✓✓ 15:04 alice: half a line
         alice:`[1:])
}

// Lines that fill one or several rows of 20 columns, to the letter.
func TestTerminalLongLines(t *testing.T) {
	for n := 1; n <= 50; n++ {
		ty := newTypist(t, 20, 30)
		ty.view.Note("first")
		ty.typed(strings.Repeat("x", n) + "\r")
		own := <-ty.lines
		shown := ty.view.Show(at(markNone, "b", strings.Repeat("y", n)))
		ty.typed("\r") // an empty line leaves no trace
		if empty := <-ty.lines; empty.row != noRow {
			t.Fatal("an empty line has a row")
		}
		ty.view.Note("last")
		ty.view.Mark(own.row, at(markSent, "", ""))
		ty.view.Mark(shown, at(markRead, "", ""))
		rows := func(s string) string {
			var b strings.Builder
			for len(s) > 20 {
				b.WriteString(s[:20] + "\n")
				s = s[20:]
			}
			return b.String() + s
		}
		own20 := rows("MM 15:04 alice: " + strings.Repeat("x", n))
		if len("MM 15:04 alice: ")+n == 40 || len("MM 15:04 alice: ")+n == 20 || len("MM 15:04 alice: ")+n == 60 {
			own20 += "\n" // the cursor went on to the next row before Enter
		}
		want := "         first\n" +
			strings.Replace(own20, "MM", "✓ ", 1) + "\n" +
			strings.Replace(rows("MM 15:04 b: "+strings.Repeat("y", n)), "MM", "◉ ", 1) + "\n" +
			"         last\n" +
			"         alice:"
		ty.screen.await(t, want)
	}
}

// Where rows may have moved, a late mark must change nothing rather than the
// wrong row.
func TestTerminalGivesUpMovedRows(t *testing.T) {
	for name, move := range map[string]func(*typist){
		"resized": func(ty *typist) {
			ty.screen.mu.Lock()
			ty.screen.width = 50
			ty.screen.mu.Unlock()
		},
		"odd letters": func(ty *typist) { ty.view.Show(at(markNone, "bob", strings.Repeat("👩", 20))) },
		"scrolled off": func(ty *typist) {
			for i := range 10 {
				ty.view.Show(at(markNone, "bob", fmt.Sprint(i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ty := newTypist(t, 40, 10)
			ty.typed("hello\r")
			hello := <-ty.lines
			move(ty)
			ty.view.Mark(hello.row, at(markRead, "alice", "hello"))
			ty.view.Note("over")
			if text := ty.screen.text(); strings.Contains(text, "◉") {
				t.Errorf("a mark was set:\n%s", text)
			}
			// The next one is found again.
			ty.typed("again\r")
			again := <-ty.lines
			ty.view.Mark(again.row, at(markRead, "alice", "again"))
			if text := ty.screen.text(); !strings.Contains(text, "◉  15:04 alice: again") {
				t.Errorf("no mark:\n%s", text)
			}
		})
	}
}

// A mark is set on the right row or, where wide letters make it uncertain which
// that is, not at all. Short lines are certain.
func TestTerminalWideLetters(t *testing.T) {
	for n := 1; n <= 45; n++ {
		ty := newTypist(t, 40, 20)
		ty.typed(strings.Repeat("你", n) + "，好\r")
		first := <-ty.lines
		ty.view.Show(at(markNone, "bob", strings.Repeat("x", n%3)+strings.Repeat("好", n)))
		ty.view.Mark(first.row, at(markDelivered, "alice", ""))
		ty.typed("narrow\r")
		ty.view.Mark((<-ty.lines).row, at(markRead, "alice", ""))
		ty.view.Note("over")
		text := ty.screen.text()
		if strings.Contains(text, "✓✓") != strings.HasPrefix(text, "✓✓ 15:04 alice: ") || n <= 8 && !strings.HasPrefix(text, "✓✓") {
			t.Errorf("with %d letters the screen shows\n%s", n, text)
		}
		if !strings.Contains(text, "◉  15:04 alice: narrow") {
			t.Errorf("with %d letters the screen shows\n%s", n, text)
		}
	}
}

// What others show while a line is entered must not get between the line and
// its number.
func TestTerminalConcurrentOutput(t *testing.T) {
	const n = 200
	ty := newTypist(t, 60, 10_000)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				ty.view.Show(at(markNone, "bob", fmt.Sprintf("noise %d", i)))
			}
		}
	}()
	for i := range n {
		ty.typed(fmt.Sprintf("line %d.\r", i))
		ty.view.Mark((<-ty.lines).row, at(markRead, "alice", ""))
	}
	close(stop)
	<-done
	rows := strings.Split(ty.screen.text(), "\n")
	marked := 0
	for _, row := range rows {
		own, tick := strings.Contains(row, "alice: line"), strings.HasPrefix(row, "◉")
		if own != tick {
			t.Fatalf("row %q", row)
		}
		if own {
			marked++
		}
	}
	if marked != n {
		t.Errorf("%d lines are marked, want %d", marked, n)
	}
}

// A message of others shows the number by which commands name it, and whether
// it mentions the user; a line that was typed can get a mark only.
func TestTerminalNumbers(t *testing.T) {
	ty := newTypist(t, 40, 10)
	ty.typed("/reply 1 hello\r")
	own := <-ty.lines
	mention := at(markMention, "bob", "hi @alice")
	mention.seq = 12
	ty.view.Show(mention)
	sent := at(markSent, "alice", "hello")
	sent.seq = 13
	ty.view.Mark(own.row, sent)
	ty.screen.await(t, `
✓  15:04 alice: /reply 1 hello
@  15:04 #12 bob: hi @alice
         alice:`[1:])
}
