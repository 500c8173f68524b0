package e2e

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// actions are what may come next. Some come under several names, to come more
// often.
func (r *run) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"send": r.sendText, "send again": r.sendText, "send more": r.sendText, "send other": r.sendOther,
		"edit": r.edit, "recall": r.recall, "react": r.react, "create": r.create,
		"contact": r.contact, "contact again": r.contact, "settings": r.settings, "settings again": r.settings,
		"delete": r.delete, "clear": r.clear, "mark": r.mark, "mark again": r.mark, "mark system": r.markSystem, "account": r.account,
		"offline": r.offline, "online": r.online, "online again": r.online, "cut": r.cut,
	}
	for _, name := range []string{
		"add", "invite", "join", "refuse", "admit", "decline", "leave", "remove", "role", "transfer", "change", "mute", "nick", "dissolve",
	} {
		actions["group "+name] = func(t *rapid.T) { r.group(t, name) }
	}
	return actions
}

func (r *run) send(t *rapid.T, d *device, c *conversation, draft godwit.Draft) {
	r.expire()
	o, err := d.client.Send(r.ctx, c.id, draft)
	if rapid.IntRange(0, 9).Draw(t, "cut") == 9 {
		r.add(", and the connection is cut")
		d.cut()
	}
	var ack godwit.Ack
	if err == nil {
		ack, err = o.Sent(r.ctx)
	}
	if godwit.CodeOf(err) == pb.Code_CODE_NOT_FOUND {
		r.expire() // the target was there to the end
	}
	seq, code := r.w.send(d.user, c, draft)
	r.answered(t, err, code)
	if code != ok {
		return
	}
	r.atSeq(t, ack.Seq, seq)
	if draft.TTL > 0 {
		c.at(seq).ends = ack.Time.Add(draft.TTL)
	}
}

// expire has the model's messages expire whose time is over: by this machine's
// clock, which is the server's.
func (r *run) expire() {
	now := time.Now()
	for _, c := range r.w.conversations {
		for _, m := range c.messages {
			if m.State == godwit.MessageNormal && !m.ends.IsZero() && !m.ends.After(now) {
				c.expire(m)
			}
		}
	}
}

// expired waits until what does not live for long has expired.
func (r *run) expired(t *rapid.T) {
	for _, c := range r.w.conversations {
		for _, m := range c.messages {
			if m.ends.IsZero() || m.ends.After(time.Now().Add(long/2)) {
				continue
			}
			select {
			case <-time.After(time.Until(m.ends)):
			case <-r.ctx.Done():
				r.must(t, r.ctx.Err())
			}
		}
	}
	r.expire()
}

// long is the life of a message that does not end within a run.
const long = time.Hour

// content draws what any message may have.
func (r *run) content(t *rapid.T, c *conversation, draft godwit.Draft) godwit.Draft {
	switch rapid.IntRange(0, 8).Draw(t, "with") {
	case 1:
		draft.Reply = c.seq(t)
	case 2:
		draft.Mentions = r.others(t)
	case 3:
		draft.MentionAll = true
	case 4:
		draft.Flags = godwit.Uncounted
	case 5:
		draft.Flags = godwit.Unpushed
	case 6:
		draft.Flags = godwit.Silent
	}
	switch rapid.IntRange(0, 5).Draw(t, "lives") {
	case 4:
		draft.TTL = time.Duration(rapid.IntRange(1, 50).Draw(t, "for")) * time.Millisecond
	case 5:
		draft.TTL = long
	}
	return draft
}

func (r *run) mentioned(t *rapid.T) []string {
	return []string{rapid.SampledFrom(r.w.users).Draw(t, "mentioned")}
}

func (r *run) sendText(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	draft := r.content(t, c, godwit.Draft{Kind: godwit.KindText, Body: r.body()})
	r.say(d, "send %s to %s, to live for %v, %s", draft.Body, c.id, draft.TTL, messageLine(godwit.Message{
		Kind: draft.Kind, Body: draft.Body, Reply: draft.Reply, Mentions: draft.Mentions, MentionAll: draft.MentionAll, Flags: draft.Flags,
	}))
	r.send(t, d, c, draft)
}

func (r *run) sendOther(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	draft := godwit.Draft{Kind: godwit.KindCustom, ContentType: "app/x", Body: r.body()}
	if rapid.Bool().Draw(t, "media") {
		draft = godwit.Draft{Kind: godwit.KindMedia, Body: media(r.body())}
	}
	draft = r.content(t, c, draft)
	r.say(d, "send %v to %s, to live for %v", draft.Kind, c.id, draft.TTL)
	r.send(t, d, c, draft)
}

func media(key []byte) []byte {
	body, err := proto.Marshal(&pb.Media{ObjectKey: string(key)})
	if err != nil {
		panic(err)
	}
	return body
}

// edit mostly edits what there is, as its kind demands.
func (r *run) edit(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	draft := godwit.Draft{Kind: godwit.KindEdit, Body: r.body(), Target: c.seq(t)}
	if draft.Target <= c.head() {
		switch c.at(draft.Target).Kind {
		case godwit.KindCustom:
			draft.ContentType = "app/y"
		case godwit.KindMedia:
			draft.Body = media(draft.Body)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "mention") == 3 {
		draft.Mentions = r.mentioned(t)
		var other *device // whether they have read what it was matters
		for _, d := range r.devices {
			if d.user == draft.Mentions[0] && (other == nil || other.client == nil) {
				other = d
			}
		}
		r.owed(t, other, c)
	}
	draft.MentionAll = c.group != nil && rapid.IntRange(0, 5).Draw(t, "mention all") == 5
	r.say(d, "edit #%d of %s to %q @%v all %t", draft.Target, c.id, draft.Body, draft.Mentions, draft.MentionAll)
	r.send(t, d, c, draft)
}

func (r *run) recall(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	draft := godwit.Draft{Kind: godwit.KindRecall, Target: c.seq(t)}
	r.say(d, "recall #%d of %s", draft.Target, c.id)
	r.send(t, d, c, draft)
}

func (r *run) react(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	draft := godwit.Draft{
		Kind: godwit.KindReaction, Target: c.seq(t),
		Body:   []byte(rapid.SampledFrom([]string{"+1", "-1"}).Draw(t, "reaction")),
		Remove: rapid.IntRange(0, 2).Draw(t, "remove") == 2,
	}
	r.say(d, "react to #%d of %s with %s, remove %t", draft.Target, c.id, draft.Body, draft.Remove)
	r.send(t, d, c, draft)
}

func (r *run) create(t *rapid.T) {
	if r.groups >= 2 {
		t.SkipNow()
	}
	d := r.some(t)
	r.groups++
	g := godwit.NewGroup{
		ClientID:      fmt.Sprint("g", r.groups),
		Kind:          rapid.SampledFrom([]godwit.GroupKind{godwit.GroupKindGroup, godwit.GroupKindGroup, godwit.GroupKindBroadcast}).Draw(t, "kind"),
		Name:          "name",
		Join:          r.joinPolicy(t),
		History:       r.historyPolicy(t),
		MembersInvite: rapid.Bool().Draw(t, "members invite"),
		Users:         r.others(t),
	}
	id := groupID(d.user, g.ClientID)
	r.say(d, "create %s, kind %d, join %d, history %d, members invite %t, with %v", id, g.Kind, g.Join, g.History, g.MembersInvite, g.Users)
	dials := d.dialed()
	seq, code := r.w.create(d.user, id, g)
	result, err := d.client.CreateGroup(g).Wait(r.ctx)
	r.answered(t, err, code)
	if result.Seq == 0 && d.dialed() > dials {
		seq = 0 // it was asked for again, and there was the group
	}
	r.atSeq(t, result.Seq, seq)
}

func (r *run) joinPolicy(t *rapid.T) godwit.JoinPolicy {
	return rapid.SampledFrom([]godwit.JoinPolicy{godwit.JoinByInvite, godwit.JoinByApproval, godwit.JoinOpen}).Draw(t, "join")
}

func (r *run) historyPolicy(t *rapid.T) godwit.HistoryPolicy {
	return rapid.SampledFrom([]godwit.HistoryPolicy{godwit.HistoryFromJoin, godwit.HistoryAll}).Draw(t, "history")
}

func (r *run) group(t *rapid.T, name string) {
	if r.groups == 0 {
		t.SkipNow()
	}
	d := r.some(t)
	c := r.aGroup(t, d.user)
	a := groupAction{name: name}
	dials := d.dialed()
	var call *godwit.Call[godwit.GroupResult]
	switch name {
	case "add", "invite", "admit", "decline", "remove", "role", "mute":
		a.users = r.others(t)
	}
	switch name {
	case "add":
		call = d.client.AddMembers(c.id, a.users...)
	case "invite":
		call = d.client.InviteMembers(c.id, a.users...)
	case "admit":
		call = d.client.AdmitMembers(c.id, a.users...)
	case "decline":
		call = d.client.DeclineMembers(c.id, a.users...)
	case "remove":
		call = d.client.RemoveMembers(c.id, a.users...)
	case "role":
		a.role = rapid.SampledFrom([]godwit.Role{godwit.RoleAdmin, godwit.RoleMember}).Draw(t, "role")
		call = d.client.SetRole(c.id, a.role, a.users...)
	case "mute":
		if rapid.Bool().Draw(t, "mute") {
			a.until = time.UnixMilli(1 << 43) // not in the lifetime of this test
		}
		call = d.client.MuteMembers(c.id, a.until, a.users...)
	case "transfer":
		a.users = []string{rapid.SampledFrom(r.w.users).Draw(t, "to")}
		call = d.client.TransferGroup(c.id, a.users[0])
	case "join":
		a.text = "please"
		call = d.client.JoinGroup(c.id, a.text)
	case "refuse":
		call = d.client.RefuseInvitation(c.id)
	case "leave":
		call = d.client.LeaveGroup(c.id)
	case "nick":
		a.text = rapid.SampledFrom([]string{"", "nick"}).Draw(t, "nick")
		call = d.client.SetNick(c.id, a.text)
	case "change":
		a.change = r.groupChange(t)
		call = d.client.ChangeGroup(c.id, a.change)
	case "dissolve":
		call = d.client.DissolveGroup(c.id)
	}
	r.say(d, "%s in %s: users %v role %d text %q muted %t %s", name, c.id, a.users, a.role, a.text, !a.until.IsZero(), changeLine(a.change))
	seq, code := r.w.act(d.user, c, a)
	result, err := call.Wait(r.ctx)
	if d.dialed() > dials && (godwit.CodeOf(err) != code || result.Seq != seq) {
		seq, code = r.w.act(d.user, c, a) // asked for again, which changes nothing more, but the answer
	}
	r.answered(t, err, code)
	if code == ok {
		r.atSeq(t, result.Seq, seq)
	}
}

func (r *run) groupChange(t *rapid.T) (change godwit.GroupChange) {
	what := rapid.IntRange(0, 6).Draw(t, "what")
	if what >= 5 || what == 0 && rapid.Bool().Draw(t, "and an attribute") {
		key := rapid.SampledFrom([]string{"state", "at"}).Draw(t, "key")
		change.Attributes = map[string][]byte{key: []byte(rapid.SampledFrom([]string{"", "on", "off"}).Draw(t, "value"))}
	}
	switch what {
	case 0:
		change.Name = new(rapid.SampledFrom([]string{"name", "other"}).Draw(t, "name"))
	case 1:
		change.Join = new(r.joinPolicy(t))
	case 2:
		change.History = new(r.historyPolicy(t))
	case 3:
		change.MembersInvite = new(rapid.Bool().Draw(t, "members invite"))
	case 4:
		change.Muted = new(rapid.Bool().Draw(t, "muted"))
	}
	return change
}

func changeLine(c godwit.GroupChange) string {
	var all []string
	for key, value := range c.Attributes { // one at the most
		all = append(all, fmt.Sprintf("attribute %s %q", key, value))
	}
	switch {
	case c.Name != nil:
		all = append(all, "name "+*c.Name)
	case c.Join != nil:
		all = append(all, fmt.Sprint("join ", *c.Join))
	case c.History != nil:
		all = append(all, fmt.Sprint("history ", *c.History))
	case c.MembersInvite != nil:
		all = append(all, fmt.Sprint("members invite ", *c.MembersInvite))
	case c.Muted != nil:
		all = append(all, fmt.Sprint("muted ", *c.Muted))
	}
	return strings.Join(all, " ")
}

func (r *run) contact(t *rapid.T) {
	d := r.some(t)
	peer := rapid.SampledFrom(without(r.w.users, []string{d.user})).Draw(t, "peer")
	name := rapid.SampledFrom([]string{"request", "request", "accept", "accept", "refuse", "remove", "remark", "block", "unblock"}).Draw(t, "action")
	text := ""
	var call *godwit.Call[godwit.Contact]
	switch name {
	case "request":
		text = "hello"
		call = d.client.RequestContact(peer, text)
	case "accept":
		call = d.client.AcceptContact(peer)
	case "refuse":
		call = d.client.RefuseContact(peer)
	case "remove":
		call = d.client.RemoveContact(peer)
	case "remark":
		text = rapid.SampledFrom([]string{"", "friend"}).Draw(t, "remark")
		call = d.client.Remark(peer, text)
	case "block":
		call = d.client.Block(peer)
	case "unblock":
		call = d.client.Unblock(peer)
	}
	r.say(d, "%s %s as a contact, %q", name, peer, text)
	code := r.w.contact(d.user, peer, name, text)
	_, err := call.Wait(r.ctx)
	r.answered(t, err, code)
}

func (r *run) settings(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	yes := rapid.Bool().Draw(t, "yes")
	var change godwit.SettingsChange
	what := rapid.SampledFrom([]string{"pinned", "muted", "archived", "marked unread", "hidden", "draft"}).Draw(t, "what")
	switch what {
	case "pinned":
		change.Pinned = &yes
	case "muted":
		change.Muted = &yes
	case "archived":
		change.Archived = &yes
	case "marked unread":
		r.owed(t, d, c)
		change.MarkedUnread = &yes
	case "hidden":
		change.Hidden = &yes
	case "draft":
		change.Draft = new(rapid.SampledFrom([]string{"", "draft"}).Draw(t, "draft"))
	}
	r.say(d, "set %s %t in %s", what, yes, c.id)
	code := r.w.set(d.user, c, change)
	_, err := d.client.SetSettings(c.id, change).Wait(r.ctx)
	r.answered(t, err, code)
}

func (r *run) delete(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	seq := c.seq(t)
	r.say(d, "delete #%d of %s", seq, c.id)
	code := r.w.remove(d.user, c, seq)
	_, err := d.client.Delete(c.id, seq).Wait(r.ctx)
	r.answered(t, err, code)
}

func (r *run) clear(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	seq := c.seq(t)
	r.say(d, "clear %s up to #%d", c.id, seq)
	code := r.w.clear(d.user, c, seq)
	_, err := d.client.Clear(c.id, seq).Wait(r.ctx)
	r.answered(t, err, code)
}

func (r *run) mark(t *rapid.T) {
	d := r.some(t)
	c := r.conversation(t, d.user)
	row := c.mine(d.user)
	if row == nil || !c.reads(row) {
		t.SkipNow()
	}
	first, last := c.bounds(row)
	if first > last {
		t.SkipNow()
	}
	seq := rapid.Uint64Range(first, last).Draw(t, "seq")
	r.say(d, "mark %s as read up to #%d", c.id, seq)
	marked := row.settings.MarkedUnread
	r.w.mark(row, seq)
	r.must(t, d.client.MarkRead(c.id, seq))
	key := d.user + " " + c.id
	if r.marks[key] == nil {
		r.marks[key] = &owing{}
	}
	r.marks[key].seq = row.read
	r.marks[key].devices = append(r.marks[key].devices, d)
	if marked {
		r.owed(t, d, c)
	}
}

// markSystem marks only what has arrived: the notices come when they come.
func (r *run) markSystem(t *rapid.T) {
	d := r.some(t)
	f := r.w.feeds[d.user]
	n := len(f.notices)
	if n == 0 {
		t.SkipNow()
	}
	for {
		next := d.next()
		if len(d.view(d.client.System())) >= n {
			break
		}
		select {
		case <-next:
		case <-r.ctx.Done():
			r.must(t, fmt.Errorf("%s has %d notices: %w", d, n, r.ctx.Err()))
		}
	}
	seq := rapid.Uint64Range(1, uint64(n)).Draw(t, "seq")
	r.say(d, "mark the system conversation as read up to #%d", seq)
	f.read = max(f.read, seq)
	r.must(t, d.client.MarkRead(d.client.System(), seq))
}

func (r *run) account(t *rapid.T) {
	d := r.some(t)
	account := r.w.accounts[d.user]
	var change godwit.AccountChange
	if rapid.Bool().Draw(t, "presence") {
		p := rapid.SampledFrom([]godwit.Audience{godwit.AudienceNobody, godwit.AudienceContacts, godwit.AudienceEverybody}).Draw(t, "for")
		r.say(d, "presence for %v", p)
		account.Presence, change.Presence = p, &p
	} else { // contacts alone not so often: little is written then
		m := rapid.SampledFrom([]godwit.Audience{0, 0, godwit.AudienceContacts, godwit.AudienceEverybody}).Draw(t, "for")
		r.say(d, "messages from %v", m)
		account.Messages, change.Messages = m, &m
	}
	r.w.accounts[d.user] = account
	_, err := d.client.SetAccount(change).Wait(r.ctx)
	r.answered(t, err, ok)
}

func (r *run) offline(t *rapid.T) {
	d := r.some(t)
	r.say(d, "goes offline")
	r.must(t, d.close())
}

func (r *run) online(t *rapid.T) {
	d := r.pick(t, false)
	r.say(d, "comes online")
	r.must(t, d.dial(r.ctx))
}

func (r *run) cut(t *rapid.T) {
	d := r.some(t)
	r.say(d, "has its connection cut")
	d.cut()
}
