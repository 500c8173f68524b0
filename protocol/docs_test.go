package protocol_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// docs/PROTOCOL.md is what other implementations go by, so it must not drift
// from what is here.

func protocolDoc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section is the text below a heading, up to the next one.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(doc, "\n"+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n#")
	return text
}

// rows are the cells of the table rows in text, without the head.
func rows(text string) [][]string {
	var table [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		table = append(table, cells)
	}
	if len(table) < 3 {
		return nil
	}
	return table[2:]
}

func TestDocFrameTypes(t *testing.T) {
	var want [][]string
	for _, typ := range allTypes() {
		from, body, answer := "server", "none", ""
		if protocol.CheckFromClient(protocol.Frame{Type: typ, Request: 1}) == nil {
			from = "client"
		}
		if typ == protocol.TypePing || typ == protocol.TypePong {
			from = "both"
		}
		if m := typ.NewBody(); m != nil {
			body = "`" + string(m.ProtoReflect().Descriptor().Name()) + "`"
		}
		if typ.IsRequest() {
			answer = (typ + 1).String()
		}
		want = append(want, []string{fmt.Sprintf("0x%02x", uint8(typ)), typ.String(), from, body, answer})
	}
	compareRows(t, rows(section(t, protocolDoc(t), "## Frame types")), want)
}

func TestDocCodes(t *testing.T) {
	var got, want [][]string
	for _, row := range rows(section(t, protocolDoc(t), "### Codes")) {
		if len(row) != 5 {
			t.Fatalf("the row %q has not 5 cells", row)
		}
		if !slices.Contains([]string{"connection", "request", "both"}, row[2]) {
			t.Errorf("%s is about %q", row[1], row[2])
		}
		if row[4] == "" {
			t.Errorf("%s is not explained", row[1])
		}
		got = append(got, []string{row[0], row[1], row[3]})
	}
	values := pb.Code(0).Descriptor().Values()
	for i := range values.Len() {
		code := pb.Code(values.Get(i).Number())
		retry := "no"
		switch {
		case code == pb.Code_CODE_UNSPECIFIED:
			continue
		case code.Retryable():
			retry = "yes"
		case code.NeedsToken():
			retry = "token"
		}
		want = append(want, []string{fmt.Sprint(int(code)), code.Name(), retry})
	}
	compareRows(t, got, want)
}

// Every message that a frame can hold has a table of its fields.
func TestDocFields(t *testing.T) {
	doc := protocolDoc(t)
	messages := pb.File_im_proto.Messages()
	for i := range messages.Len() {
		m := messages.Get(i)
		var want [][]string
		for j := range m.Fields().Len() {
			fd := m.Fields().Get(j)
			typ := fd.Kind().String()
			switch fd.Kind() {
			case protoreflect.MessageKind:
				typ = string(fd.Message().Name())
			case protoreflect.EnumKind:
				typ = string(fd.Enum().Name())
			}
			if fd.IsList() {
				typ = "repeated " + typ
			}
			want = append(want, []string{fmt.Sprint(fd.Number()), "`" + string(fd.Name()) + "`", typ})
		}
		var got [][]string
		for _, row := range rows(section(t, doc, fmt.Sprintf("#### `%s`", m.Name()))) {
			if len(row) == 4 {
				got = append(got, row[:3])
			}
		}
		compareRows(t, got, want)
	}
	headings := regexp.MustCompile("(?m)^#### `(.*)`$").FindAllStringSubmatch(doc, -1)
	if len(headings) != messages.Len() {
		t.Errorf("%d tables of fields for %d messages", len(headings), messages.Len())
	}
}

func TestDocKinds(t *testing.T) {
	text := section(t, protocolDoc(t), "#### `Send`")
	values := pb.Kind(0).Descriptor().Values()
	for i := 1; i < values.Len(); i++ {
		if want := fmt.Sprintf("%d `%s`", values.Get(i).Number(), values.Get(i).Name()); !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestDocLimits(t *testing.T) {
	var got [][]string
	for _, row := range rows(section(t, protocolDoc(t), "## Limits")) {
		got = append(got, row[:2])
	}
	compareRows(t, got, [][]string{
		{"Frame header", fmt.Sprint(protocol.HeaderSize)},
		{"Frame body before CONNECTED", fmt.Sprint(protocol.PreAuthMaxFrame)},
		{"Frame body, by the header's width", fmt.Sprint(protocol.MaxBody)},
		{"Token", fmt.Sprint(protocol.MaxToken)},
		{"User, device, platform, client message id", fmt.Sprint(protocol.MaxID)},
		{"Conversation id", fmt.Sprint(protocol.MaxConversationID)},
		{"Content type", fmt.Sprint(protocol.MaxContentType)},
		{"`Connect.client`", fmt.Sprint(protocol.MaxClientName)},
		{"`Error.text`", fmt.Sprint(protocol.MaxErrorText)},
		{"Users in a WHO", fmt.Sprint(protocol.MaxWho)},
		{"What a message adds to its body", fmt.Sprint(protocol.MessageOverhead)},
		{"Mentions of a message", fmt.Sprint(protocol.MaxMentions)},
		{"Different reactions to a message", fmt.Sprint(protocol.MaxReactions)},
		{"A reaction", fmt.Sprint(protocol.MaxReaction)},
		{"Users of a reaction in a message", fmt.Sprint(protocol.MaxReactionUsers)},
		{"Users in a request about a group", fmt.Sprint(protocol.MaxUsers)},
		{"A group's name", fmt.Sprint(protocol.MaxGroupName)},
		{"A group's avatar", fmt.Sprint(protocol.MaxGroupAvatar)},
		{"A group's notice", fmt.Sprint(protocol.MaxGroupNotice)},
		{"A group's attributes", fmt.Sprint(protocol.MaxAttributes)},
		{"An attribute's key", fmt.Sprint(protocol.MaxAttributeKey)},
		{"All attributes of a group, keys and values", fmt.Sprint(protocol.MaxAttributesBytes)},
		{"A group's admins", fmt.Sprint(protocol.MaxAdmins)},
		{"A nick", fmt.Sprint(protocol.MaxNick)},
		{"The text of a request, a remark", fmt.Sprint(protocol.MaxText)},
		{"A draft", fmt.Sprint(protocol.MaxDraft)},
		{"`Media.object_key`", fmt.Sprint(protocol.MaxObjectKey)},
		{"`Media.thumbnail`", fmt.Sprint(protocol.MaxThumbnail)},
		{"The body of a signal", fmt.Sprint(protocol.MaxSignal)},
		{"Seqs in a DELETE", fmt.Sprint(protocol.MaxDelete)},
		{"Users in a SUBSCRIBE", fmt.Sprint(protocol.MaxSubscribe)},
	})
}

func compareRows(t *testing.T, got, want [][]string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", strings.Join(want[i], " | "))
		case i >= len(want):
			t.Errorf("too much: %s", strings.Join(got[i], " | "))
		case !slices.Equal(got[i], want[i]):
			t.Errorf("got  %s\nwant %s", strings.Join(got[i], " | "), strings.Join(want[i], " | "))
		}
	}
}

// The bytes of the example are those of the vectors, and so right.
func TestDocExample(t *testing.T) {
	text := section(t, protocolDoc(t), "## A connection, byte by byte")
	blocks := regexp.MustCompile("(?s)```hex\n(.*?)```").FindAllStringSubmatch(text, -1)
	sides := []string{"session/client", "session/server"}
	if len(blocks) != len(sides) {
		t.Fatalf("%d blocks of bytes, want %d", len(blocks), len(sides))
	}
	for i, side := range sides {
		got, err := parseHex(blocks[i][1])
		if err != nil {
			t.Fatal(err)
		}
		if want := findVector(t, side).wire; !bytes.Equal(got, want) {
			t.Errorf("%s: the example has\n%x, the vector\n%x", side, got, want)
		}
	}
}

// Links to headings and files lead somewhere.
func TestDocLinks(t *testing.T) {
	doc := protocolDoc(t)
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(doc, -1) {
		anchor := strings.ToLower(strings.ReplaceAll(m[1], " ", "-"))
		anchors[strings.NewReplacer(",", "", "`", "", ":", "").Replace(anchor)] = true
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(doc, -1) {
		if anchor, ok := strings.CutPrefix(m[1], "#"); ok {
			if !anchors[anchor] {
				t.Errorf("no heading %s", m[1])
			}
		} else if _, err := os.Stat("../docs/" + m[1]); err != nil {
			t.Error(err)
		}
	}
}
