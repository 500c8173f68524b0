package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/godwit-im/godwit/sdk-go"
)

// oneLine is a message as it is now, fit to be printed in one line.
func oneLine(m godwit.Message) string {
	if gone := tombstone(m); gone != "" {
		return gone
	}
	if m.Kind == godwit.KindNotice {
		return noticeText(m.Notice)
	}
	var b strings.Builder
	if m.Reply > 0 {
		fmt.Fprintf(&b, "(re #%d) ", m.Reply)
	}
	b.WriteString(content(m))
	if !m.Edited.IsZero() {
		b.WriteString(" (edited)")
	}
	if len(m.Reactions) > 0 {
		given := make([]string, len(m.Reactions))
		for i, r := range m.Reactions {
			given[i] = fmt.Sprintf("%s %d", harmless(r.Key), r.Count)
		}
		fmt.Fprintf(&b, " [%s]", strings.Join(given, ", "))
	}
	return b.String()
}

// tombstone is what is left of a message, empty where all of it is.
func tombstone(m godwit.Message) string {
	switch m.State {
	case godwit.MessageRecalled:
		return "(recalled by " + m.RecalledBy + ")"
	case godwit.MessageExpired:
		return "(expired)"
	case godwit.MessageDeleted:
		return "(deleted by you, for you)"
	}
	return ""
}

func content(m godwit.Message) string {
	switch {
	case m.Kind == godwit.KindText:
		return harmless(m.Text())
	case m.Media != nil:
		return mediaText(m.Media)
	}
	return fmt.Sprintf("[%s, %d bytes]", firstOf(harmless(m.ContentType), "no content type"), len(m.Body))
}

// mediaText is all that there is to be read of an object, and where it is.
func mediaText(m *godwit.Media) string {
	what := []string{firstOf(harmless(m.ContentType), "no content type"), fmt.Sprintf("%d bytes", m.Size)}
	if m.Name != "" {
		what = slices.Insert(what, 0, harmless(m.Name))
	}
	if m.Width > 0 || m.Height > 0 {
		what = append(what, fmt.Sprintf("%d×%d", m.Width, m.Height))
	}
	if m.Duration > 0 {
		what = append(what, m.Duration.String())
	}
	return fmt.Sprintf("[%s, at %s]", strings.Join(what, ", "), harmless(m.ObjectKey))
}

// changeText tells of a change. message is the changed one as it is now, nil
// where that is not known.
func changeText(c godwit.MessageChange, message *godwit.Message) string {
	switch who := c.Event.Sender; c.Type {
	case godwit.ChangeEdited:
		text := harmless(c.Event.Text())
		if message != nil {
			text = content(*message)
		}
		return fmt.Sprintf("%s edited #%d: %s", who, c.Seq, text)
	case godwit.ChangeRecalled:
		return fmt.Sprintf("%s recalled #%d", who, c.Seq)
	case godwit.ChangeReacted:
		key := harmless(string(c.Event.Body))
		if c.Event.Remove {
			return fmt.Sprintf("%s took %s back from #%d", who, key, c.Seq)
		}
		return fmt.Sprintf("%s gave #%d %s", who, c.Seq, key)
	case godwit.ChangeExpired:
		return fmt.Sprintf("#%d expired", c.Seq)
	case godwit.ChangeDeleted:
		return fmt.Sprintf("you deleted #%d for yourself", c.Seq)
	case godwit.ChangeCleared:
		return fmt.Sprintf("you deleted everything up to #%d for yourself", c.Seq)
	}
	return fmt.Sprintf("#%d changed", c.Seq)
}

// gapText tells of messages that are not to be had.
func gapText(conversation string, from, to uint64) string {
	if isGroup(conversation) {
		return fmt.Sprintf("messages %d to %d are from when you were not in the group, or not kept any more", from, to)
	}
	return fmt.Sprintf("messages %d to %d are not kept any more", from, to)
}
