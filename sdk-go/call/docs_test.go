package call

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/godwit-im/godwit/protocol/pb"
)

// table is the rows of the table under a heading of docs/CALLS.md.
func table(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/CALLS.md")
	must(t, err)
	_, rest, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no %q in docs/CALLS.md", heading)
	}
	in := false
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"), in && line == "":
			return rows[2:] // without the head
		case strings.HasPrefix(line, "|"):
			in = true
			var row []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				row = append(row, strings.TrimSpace(cell))
			}
			rows = append(rows, row)
		}
	}
	return rows[2:]
}

var kinds = []string{kindInvite, kindRing, kindBusy, kindAccept, kindConfirm, kindReject, kindCandidate, kindAlive, kindHangup}

// The devices that a signal of the call may come from, as the table calls them.
var origins = map[string]string{"the device": "bob/phone", "another": "bob/tablet", "own": "alice/laptop"}

// places are the states of the table, and how a call comes to them. The device is
// bob/phone throughout.
var places = map[string]func(b *bench) *Call{
	"caller Inviting": func(b *bench) *Call { return b.place(b.t, otherUser, "offer") },
	"caller Ringing": func(b *bench) *Call {
		c := b.place(b.t, otherUser, "offer")
		b.hears("bob/phone", kindRing, &pb.CallSignal{Call: c.ID()})
		return c
	},
	"caller Active": callerActive,
	"caller Ended": func(b *bench) *Call {
		c := callerActive(b)
		must(b.t, c.HangUp())
		return c
	},
	"callee Invited":   calleeInvited,
	"callee Ringing":   calleeRinging,
	"callee Accepting": calleeAccepting,
	"callee Active":    calleeActive,
	"callee Ended": func(b *bench) *Call {
		c := calleeRinging(b)
		must(b.t, c.Reject())
		return c
	},
}

func callerActive(b *bench) *Call {
	c := b.place(b.t, otherUser, "offer")
	b.hears("bob/phone", kindAccept, &pb.CallSignal{Call: c.ID(), Payloads: [][]byte{[]byte("answer")}})
	return c
}

func calleeInvited(b *bench) *Call {
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: "c1", Payloads: [][]byte{[]byte("offer")}})
	return b.one(b.t)
}

func calleeRinging(b *bench) *Call {
	c := calleeInvited(b)
	must(b.t, c.Ring())
	return c
}

func calleeAccepting(b *bench) *Call {
	c := calleeRinging(b)
	must(b.t, c.Accept([]byte("answer")))
	return c
}

func calleeActive(b *bench) *Call {
	c := calleeAccepting(b)
	b.hears("bob/phone", kindConfirm, &pb.CallSignal{Call: c.ID()})
	return c
}

// at makes a call that has come to a state, with nothing left to be said.
func at(t testing.TB, place string) (*bench, *Call) {
	b := newBench(t)
	c := places[place](b)
	b.said()
	b.told = nil
	if got := c.Status().State.String(); got != statusOf(place) || c.Outgoing() != strings.HasPrefix(place, "caller") {
		t.Fatalf("the call is %s instead of %s", got, place)
	}
	return b, c
}

// statusOf is a cell of the column "Becomes" as statusText.
func statusOf(cell string) string {
	if strings.HasPrefix(cell, "Ended: ") {
		return cell
	}
	_, state, _ := strings.Cut(cell, " ")
	return strings.ToLower(state)
}

// cell is what the table says of a state, a signal and where that comes from.
type cell struct {
	becomes, sends string
	row            int
}

func signalTable(t *testing.T) (cells map[string]cell, rows int) {
	cells = make(map[string]cell)
	all := table(t, "### What a signal does")
	for i, row := range all {
		froms := []string{row[2]}
		if row[2] == "any device" {
			froms = []string{"the device", "another"}
		}
		for state := range strings.SplitSeq(row[0], ", ") {
			for _, kind := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(row[1], -1) {
				for _, from := range froms {
					key := state + " " + kind[1] + " " + from
					if _, twice := cells[key]; twice {
						t.Errorf("%s is in the table twice", key)
					}
					cells[key] = cell{row[3], row[4], i}
				}
			}
		}
	}
	return cells, len(all)
}

// wantSends is a cell of the column "Sends" as bench.said.
func wantSends(text, from string) []string {
	if text == "" {
		return nil
	}
	kind := strings.Split(text, "`")[1]
	if strings.Contains(text, "elsewhere") {
		kind += " elsewhere"
	}
	if strings.Contains(text, "to it") {
		kind += " to " + from
	}
	return []string{kind}
}

// Every state with every signal from everywhere does what the table says, and
// nothing where it says nothing.
func TestEverySignalInEveryState(t *testing.T) {
	cells, rows := signalTable(t)
	used := make(map[int]bool)
	tried := 0
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for _, kind := range kinds {
			for from, sender := range origins {
				key := place + " " + kind + " " + from
				want, listed := cells[key]
				used[want.row] = used[want.row] || listed
				for reason := range pb.CallReason_name {
					if kind != kindHangup && reason != 0 {
						continue
					}
					tried++
					b, c := at(t, place)
					before := c.Status()
					b.hears(sender, kind, &pb.CallSignal{
						Call: c.ID(), Payloads: [][]byte{[]byte("late")}, Reason: pb.CallReason(reason),
					})
					said, after := b.said(), c.Status()
					becomes, sends := statusText(before), []string(nil)
					if listed {
						becomes, sends = statusOf(want.becomes), wantSends(want.sends, sender)
						if strings.HasSuffix(want.becomes, " Ended") {
							becomes = statusText(before)
						}
						becomes = strings.Replace(becomes, "as it says", reasonOf(pb.CallReason(reason)).String(), 1)
						if strings.HasPrefix(want.sends, "to it what ended") {
							sends = []string{"call.reject to bob/phone"}
						}
					}
					if got := statusText(after); got != becomes || !slices.Equal(said, sends) {
						t.Errorf("%s (%v): becomes %s and says %q, want %s and %q", key, reason, got, said, becomes, sends)
					}
					if before.State == Ended && (!reflect.DeepEqual(before, after) || len(b.told) > 0) {
						t.Errorf("%s: changes an ended call: %+v, %+v, told %q", key, before, after, b.told)
					}
				}
			}
		}
	}
	for _, kind := range kinds {
		for from, sender := range origins {
			key := "no call " + kind + " " + from
			want, listed := cells[key]
			used[want.row] = used[want.row] || listed
			tried++
			b := newBench(t)
			b.hears(sender, kind, &pb.CallSignal{Call: "c1"})
			if said := b.said(); !slices.Equal(said, wantSends(want.sends, sender)) {
				t.Errorf("%s: says %q, want %q", key, said, want.sends)
			}
			if want.becomes == "callee Invited" {
				wantStatus(t, b.one(t), "invited")
			} else if len(b.all) > 0 {
				t.Errorf("%s: makes a call", key)
			}
		}
	}
	for i := range rows {
		if !used[i] {
			t.Errorf("row %d of the table is about nothing", i+1)
		}
	}
	if cells := (len(places)*(len(kinds)-1+len(pb.CallReason_name)) + len(kinds)) * len(origins); tried != cells {
		t.Errorf("%d cells were tried, there are %d", tried, cells)
	}
}

// A device that ended the call itself says so again to a caller who goes on to
// invite; one for which others ended it does not.
func TestEndedCalleeIsInvitedAgain(t *testing.T) {
	for want, end := range map[string]func(b *bench) *Call{
		"call.reject to bob/phone": places["callee Ended"],
		"call.busy to bob/phone":   func(b *bench) *Call { c := calleeInvited(b); must(t, c.Busy()); return c },
		"call.hangup to bob/phone": func(b *bench) *Call { c := calleeAccepting(b); must(t, c.HangUp()); return c },
		"": func(b *bench) *Call {
			c := calleeRinging(b)
			b.hears("alice/laptop", kindAccept, &pb.CallSignal{Call: c.ID()})
			return c
		},
	} {
		b := newBench(t)
		c := end(b)
		b.said()
		before := c.Status()
		b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: c.ID()})
		if got := strings.Join(b.said(), " "); got != want || !reflect.DeepEqual(before, c.Status()) {
			t.Errorf("says %q, want %q; %+v", got, want, c.Status())
		}
	}
}

// What a user does, in every state.
func TestEveryActionInEveryState(t *testing.T) {
	actions := map[string]func(*Call) error{
		"shows it": (*Call).Ring, "accepts": func(c *Call) error { return c.Accept([]byte("answer")) },
		"declines": (*Call).Reject, "is in another call": (*Call).Busy, "hangs up": (*Call).HangUp,
	}
	rows := make(map[string][]string)
	for _, row := range table(t, "### What a user does") {
		states := strings.Split(row[0], ", ")
		if row[0] == "any but Ended and those two" {
			states = []string{"caller Inviting", "caller Ringing", "caller Active", "callee Accepting", "callee Active"}
		}
		for _, state := range states {
			rows[state+" "+row[1]] = row
		}
	}
	for place := range places {
		for name, action := range actions {
			b, c := at(t, place)
			before := c.Status()
			row := rows[place+" "+name]
			if name == "hangs up" && (place == "callee Invited" || place == "callee Ringing") {
				row = rows[place+" declines"] // which is what it is then
			}
			err := action(c)
			if row == nil {
				if err == nil || !reflect.DeepEqual(before, c.Status()) || len(b.said()) > 0 {
					t.Errorf("%s %s: %v, %+v", place, name, err, c.Status())
				}
				continue
			}
			must(t, err)
			wantStatus(t, c, statusOf(row[2]))
			to := ""
			if kind := strings.Split(row[3], "`")[1]; kind == kindRing || kind == kindBusy {
				to = " to bob/phone"
			}
			b.wantSaid(strings.Split(row[3], "`")[1] + to)
		}
	}
	if row := rows["nothing calls"]; row == nil || statusOf(row[2]) != "inviting" || !strings.Contains(row[3], kindInvite) {
		t.Errorf("a call begins with %q", row)
	}
}

func TestDocs(t *testing.T) {
	var got []string
	for _, row := range table(t, "## The signals of a call") {
		got = append(got, strings.Trim(row[0], "`"))
	}
	if want := kinds; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the signals %q, want %q", got, want)
	}
	var states []string
	for _, row := range table(t, "## States") {
		states = append(states, strings.ToLower(row[0]))
	}
	if !slices.Equal(slices.Sorted(slices.Values(states)), slices.Sorted(slices.Values(stateNames[:]))) {
		t.Errorf("the states %q, want %q", states, stateNames)
	}
	times := reflect.ValueOf(DefaultTimes())
	rows := table(t, "### Time-outs")
	if len(rows) != times.NumField() {
		t.Errorf("%d time-outs, want %d", len(rows), times.NumField())
	}
	for _, row := range rows {
		if f := times.FieldByName(row[0]); !f.IsValid() || fmt.Sprint(f) != row[1] {
			t.Errorf("%s is %s in the table", row[0], row[1])
		}
	}
	text, err := os.ReadFile("../../docs/CALLS.md")
	must(t, err)
	fields := (*pb.CallSignal)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); !strings.Contains(string(text), fmt.Sprintf("| %d | `%s` |", f.Number(), f.Name())) {
			t.Errorf("no row for the field %s", f.Name())
		}
	}
	for number, name := range pb.CallReason_name {
		if !strings.Contains(string(text), fmt.Sprintf("| %d | `%s` |", number, name)) {
			t.Errorf("no row for %s", name)
		}
	}
	if !strings.Contains(string(text), fmt.Sprintf("leaves %d,%03d for", MaxPayload/1000, MaxPayload%1000)) {
		t.Errorf("MaxPayload is %d", MaxPayload)
	}
}
