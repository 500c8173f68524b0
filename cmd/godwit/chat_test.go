package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/node"
)

// transcript is what a command has printed so far.
type transcript struct {
	mu      sync.Mutex // guards text
	text    bytes.Buffer
	written chan struct{} // has an element after a write
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	select {
	case tr.written <- struct{}{}:
	default:
	}
	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// chatter runs godwit chat without a terminal.
type chatter struct {
	t    *testing.T
	out  *transcript
	in   io.WriteCloser
	exit chan int
}

func startChat(t *testing.T, data, state, user, to string, args ...string) *chatter {
	return startChatter(t, data, state, user, append([]string{"--to", to}, args...))
}

func startGroup(t *testing.T, data, state, user, name, members string) *chatter {
	return startChatter(t, data, state, user, []string{"--new-group", name, "--with", members})
}

func startChatter(t *testing.T, data, state, user string, args []string) *chatter {
	in, keys := io.Pipe()
	c := &chatter{t, &transcript{written: make(chan struct{}, 1)}, keys, make(chan int, 1)}
	args = append([]string{"godwit", "chat", "--data", data, "--state", state, "--user", user}, args...)
	go func() { c.exit <- run(args, in, c.out, c.out) }()
	return c
}

func (c *chatter) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// sees waits until a line matches.
func (c *chatter) sees(pattern string) {
	c.t.Helper()
	re := regexp.MustCompile("(?m)^" + pattern + "$")
	limit := time.After(time.Minute)
	for !re.MatchString(c.out.String()) {
		select {
		case <-c.out.written:
		case <-limit:
			c.t.Fatalf("no line %q in\n%s", pattern, c.out)
		}
	}
}

// ends closes the input and waits for the exit code.
func (c *chatter) ends(want int) {
	c.t.Helper()
	c.in.Close()
	select {
	case got := <-c.exit:
		if got != want {
			c.t.Errorf("exit code %d, want %d; the chat was\n%s", got, want, c.out)
		}
	case <-time.After(time.Minute):
		c.t.Errorf("the chat does not end:\n%s", c.out)
	}
}

func TestChatLive(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	server, err := startChild(t.Context(), "godwit", dir, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { server.kill() }()

	alice := startChat(t, dir, state, "alice", "bob")
	alice.sees(`-- no messages with bob yet\. .*`)
	alice.say("anybody there?")
	alice.sees(`✓  \d\d:\d\d #1 alice: anybody there\?`)

	bob := startChat(t, dir, state, "bob", "alice")
	bob.sees(`-- alice is online\. .*`)
	bob.sees(`   \d\d:\d\d #1 alice: anybody there\?`)
	alice.sees(`◉  #1 read`)
	bob.say("yes")
	alice.sees(`   \d\d:\d\d #2 bob: yes`)
	bob.sees(`◉  #2 read`)
	alice.say("/who")
	alice.sees(`-- online: bob`)

	// What is for now only is shown to those who are there.
	alice.say("/typing")
	bob.sees(`-- alice is typing`)
	alice.sees(`-- somebody is there to see it`)
	bob.say("/signal wave good morning")
	alice.sees(`-- bob signals wave from chat-\w+-1: good morning`)

	// A call, without sound.
	alice.say("/call")
	alice.sees(`-- calling bob`)
	bob.sees(`-- alice calls you; /accept answers, /hangup declines`)
	alice.sees(`-- it rings at bob's`)
	alice.say("/call")
	alice.sees(`-- there is a call already`)
	alice.say("/accept")
	alice.sees(`-- not any more, or not in this call`)
	bob.say("/accept")
	alice.sees(`-- in a call with bob, on their device chat-\w+-1`)
	bob.sees(`-- in a call with alice, on their device chat-\w+-1`)
	alice.say("/hangup")
	for _, who := range []*chatter{alice, bob} {
		who.sees(`-- the call with (alice|bob) has ended: hung up`)
	}
	bob.say("/hangup")
	bob.sees(`-- there is no call`)
	bob.say("/call")
	alice.sees(`-- bob calls you; /accept answers, /hangup declines`)
	alice.say("/hangup")
	bob.sees(`-- the call with alice has ended: rejected`)

	bob.say("/media photos/7 image/jpeg 2048 the view")
	alice.sees(`   \d\d:\d\d #3 bob: \[the view, image/jpeg, 2048 bytes, at photos/7\]`)
	bob.say("/recall last")
	alice.sees(`-- bob recalled #3`)

	// A second chat of the same user is another device and sees what both write.
	other := startChat(t, dir, state, "alice", "bob")
	other.sees(`◉  \d\d:\d\d #1 alice: anybody there\?`)
	other.say("from the other one")
	alice.sees(`(✓ |✓✓|◉ ) \d\d:\d\d #5 alice: from the other one`)
	other.ends(exitOK)

	// The same device twice would take each other's connection over and over.
	phone := startChat(t, dir, state, "alice", "bob", "--device", "phone")
	phone.sees(`-- bob is online\. .*`)
	again := startChat(t, dir, state, "alice", "bob", "--device", "phone")
	again.sees(`godwit: device phone of alice is in use by another chat`)
	again.ends(exitFailed)
	phone.ends(exitOK)

	// A message that no server takes is refused, and the chat goes on.
	alice.say(strings.Repeat("x", 300<<10))
	alice.sees(`-- refused: .*`)

	// What is written while the server is down arrives later.
	if err := server.kill(); err != nil {
		t.Fatal(err)
	}
	alice.sees(`-- not connected: .*; what you write is sent later`)
	alice.say("while it is down")
	if server, err = startChild(t.Context(), "godwit", dir, addr); err != nil {
		t.Fatal(err)
	}
	bob.sees(`   \d\d:\d\d #6 alice: while it is down`)
	alice.sees(`-- connected again`)
	alice.sees(`(✓ |✓✓|◉ ) \d\d:\d\d #6 alice: while it is down`)

	alice.ends(exitFailed) // for the refusal
	bob.ends(exitOK)
}

// What could not be sent when a chat ended is sent by the next one.
func TestChatKeepsWhatItCouldNotSend(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	server, err := startChild(t.Context(), "godwit", dir, addr)
	if err != nil {
		t.Fatal(err)
	}
	alice := startChat(t, dir, state, "alice", "bob", "--timeout", "2s")
	alice.sees(`-- no messages with bob yet\. .*`)
	if err := server.kill(); err != nil {
		t.Fatal(err)
	}
	alice.sees(`-- not connected: .*`)
	alice.say("remember me")
	alice.ends(exitFailed)
	if !strings.Contains(alice.out.String(), "messages not sent yet: 1") {
		t.Errorf("the chat was\n%s", alice.out)
	}
	if server, err = startChild(t.Context(), "godwit", dir, addr); err != nil {
		t.Fatal(err)
	}
	defer server.kill()
	again := startChat(t, dir, state, "alice", "bob")
	again.sees(`✓  \d\d:\d\d #1 alice: remember me`)
	again.ends(exitOK)
}

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"plain, 你好, 👩‍🚀 ñ":          "plain, 你好, 👩‍🚀 ñ",
		"a\nb\tc":                   "a↵b c",
		"\x1b[2J\x07\r\x7f\u009b1m": "\ufffd[2J\ufffd\ufffd\ufffd\ufffd1m",
		"\u202eevil\u2028x\ufeff":   "\ufffdevil↵x\ufffd",
		"\xff":                      "\ufffd",
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// A group of two at their terminals, one of whom has two devices.
func TestChatGroupLive(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	server, err := startChild(t.Context(), "godwit", dir, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer server.kill()

	alice := startGroup(t, dir, state, "alice", "friends", "bob")
	alice.sees(`-- alice made the group "friends"; in it are alice, bob`)
	group := regexp.MustCompile(`g:alice:\w+`).FindString(alice.out.String())
	bob := startChat(t, dir, state, "bob", group)
	bob.sees(`-- the group "friends" \(` + group + `\), members: 2, your role: member\. .*`)

	// What the app keeps of the group is told when it changes, and typing to all.
	bob.say("/typing")
	alice.sees(`-- bob is typing`)
	bob.say("/call")
	bob.sees(`-- a call is between two users, and this is a group`)
	bob.say("/about")
	bob.sees(`-- it is "friends", for those invited`)

	// Mentions are marked for those who are mentioned, and not for others.
	alice.say("@bob, @carol and @all!")
	alice.sees(`✓  \d\d:\d\d #2 alice: @bob, @carol and @all!`)
	bob.sees(`@  \d\d:\d\d #2 alice: @bob, @carol and @all!`)
	bob.say("@alice @all")
	alice.sees(`@  \d\d:\d\d #3 bob: @alice @all`)
	alice.say("no one")
	bob.sees(`   \d\d:\d\d #4 alice: no one`)

	// What happens to a message is told on both sides.
	alice.say("/edit 4 @bob")
	bob.sees(`-- alice edited #4: @bob`)
	alice.sees(`-- alice edited #4: @bob`)
	bob.say("/react last yes")
	alice.sees(`-- bob gave #4 yes`)
	bob.say("/react last yes") // which changes nothing, and must not be waited for
	bob.say("/unreact last yes")
	alice.sees(`-- bob took yes back from #4`)
	alice.say("/recall 3")
	bob.sees(`-- alice recalled #3`)
	bob.say("/delete 2")
	bob.sees(`-- you deleted #2 for yourself`)

	// What is in other conversations is told in short.
	carol := startChat(t, dir, state, "carol", "bob")
	carol.sees(`-- no messages with bob yet\. .*`)
	carol.say("psst")
	bob.sees(`-- carol wrote to you in another conversation`)
	carol.say("/contact add bob please")
	bob.sees(`-- carol asks to be your contact, saying "please"`)
	bob.say("/contact accept carol")
	carol.sees(`-- bob is your contact now`)
	bob.ends(exitOK)
	carol.sees(`-- bob is not online, was last on .*`)
	alice.say("@bob wake up")
	alice.sees(`✓  \d\d:\d\d #\d+ alice: @bob wake up`)
	alice.say("@carol is no member")
	bob = startChat(t, dir, state, "bob", "carol")
	carol.sees(`-- bob is online`)
	bob.sees(`-- alice mentioned you in the group "friends" \(` + group + `\)`)
	bob.sees(`-- alice wrote in the group "friends" \(` + group + `\)`)
	bob.say("/list")
	bob.sees(`-- "friends" \(` + group + `\) \[2 unread, mentions you in #\d+\] alice: @carol is no member`)

	// One device ends another, which is told by whom.
	phone := startChat(t, dir, state, "alice", group, "--device", "phone")
	phone.sees(`-- the group "friends" .*`)
	phone.say("/devices")
	phone.sees(`-- phone \(\w+\) since .*, this one`)
	alice.say("/end phone")
	alice.sees(`-- ended`)
	phone.sees(`godwit: .*, by device chat-\w+-1 \(\w+\)`)
	phone.ends(exitFailed)

	alice.ends(exitOK)
	bob.ends(exitOK)
	carol.ends(exitOK)
}
