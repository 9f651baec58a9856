//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

const certfp = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestInspIRCdKnowsTLS: what OPEN tells of a client's TLS is what InspIRCd shows, and it stays over moves and a reload of the module.
func TestInspIRCdKnowsTLS(t *testing.T) { onBoth(t, inspIRCdKnowsTLS) }

func inspIRCdKnowsTLS(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	tls := h.open("i.1", "tls", func(o *protocol.Open) {
		o.Remote, o.TLS, o.CertFP = netip.MustParseAddrPort("[2001:db8::7]:4000"), "TLSv1.3/TLS_AES_128_GCM_SHA256", certfp
	})
	nocert := h.open("i.2", "nocert", func(o *protocol.Open) { o.TLS = "TLSv1.3/TLS_AES_128_GCM_SHA256" })
	plain := h.open("i.3", "plain", nil)
	tls.ask("OPER root rootpw")
	tls.ask("JOIN #tls")
	tls.ask("MODE #tls +z")
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			send string
			has  []string
			not  string
		}{
			{"WHOIS tls", []string{" 671 tls tls ", " 276 tls tls :has " + v.either("TLS (SSL) ", "") + "client certificate fingerprint " + certfp, "2001:db8::7"}, "\x00"},
			{"WHOIS nocert", []string{" 671 tls nocert "}, " 276 "},
			{"WHOIS plain", []string{" 318 "}, " 671 "},
			{"SSLINFO tls", []string{"Fingerprint:    " + certfp}, "\x00"},
		} {
			got := tls.ask(c.send)
			for _, want := range c.has {
				if !strings.Contains(got, want) {
					t.Errorf("%s, %s: no %q in\n%s", when, c.send, want, got)
				}
			}
			if strings.Contains(got, c.not) {
				t.Errorf("%s, %s: %q in\n%s", when, c.send, c.not, got)
			}
		}
		if got := plain.ask("JOIN #tls"); !strings.Contains(got, " 489 ") {
			t.Errorf("%s: a TLS-only channel let a plain user in:\n%s", when, got)
		}
	}
	check("after OPEN")

	// Into the very process that they were taken from.
	tx, _, records := h.export(tls, nocert, plain)
	h.ok(h.c.Release(t.Context(), tx, ""))
	tx2, p := h.prepare(records...)
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	tls, nocert, plain = h.attach(tx2, tx2, "i.1"), h.attach(tx2, tx2, "i.2"), h.attach(tx2, tx2, "i.3")
	_, err := h.c.Commit(t.Context(), tx2)
	h.ok(err)
	for _, s := range []*rawStream{tls, nocert, plain} {
		h.ok(s.answer(protocol.VerbLive))
	}
	check("after a move")
	if got := plain.ask("WHOWAS tls"); !strings.Contains(got, " 406 ") {
		t.Errorf("who was moved has left:\n%s", got)
	}

	// A reload keeps the stream ids, an unload the users.
	tls.send("RELOADMODULE m_handoff.so\r\n")
	tls.await(" 975 ")
	check("after a reload of the module")
	h = newHand(t, h.ircd)
	if h.hello.Users != 3 || h.hello.Unmovable != 0 {
		t.Errorf("after a reload: %d users, %d of them cannot be moved", h.hello.Users, h.hello.Unmovable)
	}
	tls.send("UNLOADMODULE m_handoff.so\r\n")
	tls.await(" 973 ")
	check("without the module")
	nocert.ask("PING there")
}

// TestInspIRCdLooksAtTheClient: classes, bans and limits go by the client's own address.
func TestInspIRCdLooksAtTheClient(t *testing.T) { onBoth(t, inspIRCdLooksAtTheClient) }

func inspIRCdLooksAtTheClient(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	oper := h.open("i.1", "oper", nil)
	oper.ask("OPER root rootpw")
	oper.ask("ZLINE 203.0.113.9 1h :not you")
	o := protocol.Open{SKey: h.hello.SKey, U: "i.2", Remote: netip.MustParseAddrPort("203.0.113.9:4000"), Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	s := h.dial(protocol.AppendOpen(nil, o), "i.2")
	h.ok(s.answer(protocol.VerbOpened))
	if got := s.await("ERROR :"); !strings.Contains(got, "not you") {
		t.Errorf("a banned address came in:\n%s", got)
	}
	strict := h.open("i.3", "strict", func(o *protocol.Open) { o.Remote = netip.MustParseAddrPort("127.0.8.5:4000") })
	if got := oper.ask("CHECK strict"); !strings.Contains(got, "connectclass :strict") || !strings.Contains(got, "clientaddr :127.0.8.5:4000") {
		t.Errorf("the class is not by the client's address:\n%s", got)
	}
	strict.ask("JOIN #sea")

	bannedMeanwhile(t, h, strict, func() { oper.ask("ZLINE 127.0.8.5 1h :nor you") }, func() { oper.ask("ZLINE 127.0.8.5") })
}

// TestInspIRCdAfterFailures: a restart command that fails, one that kills without notice, and an ircd that has died before.
func TestInspIRCdAfterFailures(t *testing.T) { onBoth(t, inspIRCdAfterFailures) }

func inspIRCdAfterFailures(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	f := startFerry(t, nil, "", a.backend())
	ann, ben := login(t, f.port, "127.0.9.9", "ann"), login(t, f.port, "127.0.9.8", "ben")
	ann.send("JOIN #sea")
	ann.expect(" 366 ")
	ben.send("JOIN #sea")
	ben.expect(" 366 ")
	ann.expect(" JOIN ")
	talk := func(when string) {
		t.Helper()
		seen := ben.count()
		ann.send("PRIVMSG #sea :" + when)
		ben.expect(when)
		ann.fence()
		if lines := ben.since(seen); len(lines) != 1 {
			t.Errorf("%s: ben saw %q", when, lines)
		}
	}
	talk("before")
	before, err := a.hello()
	if err != nil {
		t.Fatal(err)
	}
	if out, code := f.ctl("restart", "main/a", "--exec", "false"); code != 1 {
		t.Errorf("a restart command that fails: exit %d\n%s", code, out)
	}
	if now, err := a.hello(); err != nil || now.Epoch != before.Epoch || now.Users != 2 {
		t.Errorf("after a command that failed: %v, %+v", err, now)
	}
	talk("after a command that failed")
	old := a.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		a.run()
	}()
	f.move("restart", "main/a", "--exec", fmt.Sprintf("kill -KILL %d", old.cmd.Process.Pid))
	<-restarted
	talk("after SIGKILL")
}

// TestInspIRCdWithStrangers: who came past ircferry cannot be moved. That is refused, and with --allow-visible they see ordinary quits.
func TestInspIRCdWithStrangers(t *testing.T) { onBoth(t, inspIRCdWithStrangers) }

func inspIRCdWithStrangers(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	f.ctl("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	ann, stranger := login(t, f.port, "127.0.9.9", "ann"), login(t, a.port, "127.0.9.8", "stranger")
	for _, c := range []*irc{ann, stranger} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	if out, code := f.ctl("drain", "main/a", "--to", "b"); code != 5 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	ann.send("PRIVMSG stranger :still there")
	stranger.expect("still there")
	seen := stranger.count()
	f.move("drain", "main/a", "--to", "b", "--allow-visible")
	stranger.expect(" QUIT :")
	stranger.fence()
	if lines := stranger.since(seen); len(lines) != 2 {
		t.Errorf("the stranger saw %q", lines)
	}
	ann.send("WHOIS ann")
	ann.expect(" 318 ")
}

// startLinked starts an InspIRCd with the handoff and one that links to it by itself, again and again.
func startLinked(t *testing.T, v *inspVersion) (a, hub *nativeInspIRCd) {
	t.Helper()
	a, hub = v.new(t, "a"), v.new(t, "hub")
	servers := freePort(t)
	writeFile(t, a.conf, readFile(a.conf)+`<bind address="127.0.0.1" port="`+fmt.Sprint(servers)+`" type="servers">
<link name="hub.example.org" ipaddr="127.0.0.1" port="1" allowmask="127.0.0.0/8" sendpass="p" recvpass="p">
`)
	text := strings.NewReplacer(`name="insp.example.org"`, `name="hub.example.org"`, `id="1AA"`, `id="2BB"`).Replace(readFile(hub.conf))
	writeFile(t, hub.conf, text+`<link name="insp.example.org" ipaddr="127.0.0.1" port="`+fmt.Sprint(servers)+`" allowmask="127.0.0.0/8" sendpass="p" recvpass="p">
<autoconnect period="1s" server="insp.example.org">
`)
	a.run()
	hub.run()
	a.linked()
	return a, hub
}

// linked waits until another server is there.
func (i *nativeInspIRCd) linked() {
	i.t.Helper()
	eventually(i.t, 20*time.Second, "the servers link", func() bool {
		hello, err := i.hello()
		return err == nil && hello.Links == 1
	})
}

// TestInspIRCdLinkedRestart: what would be seen in the network is refused, and with --allow-visible it sees ordinary quits before the
// ircd goes, and its users again as soon as the servers have linked anew. Those who moved see nothing but that of the others.
func TestInspIRCdLinkedRestart(t *testing.T) { onBoth(t, inspIRCdLinkedRestart) }

func inspIRCdLinkedRestart(t *testing.T, v *inspVersion) {
	a, hub := startLinked(t, v)
	f := startFerry(t, nil, "", a.backend())
	ann, ben, eye := login(t, f.port, "127.0.9.9", "ann"), login(t, f.port, "127.0.9.8", "ben"), login(t, hub.port, "127.0.9.7", "eye")
	for _, c := range []*irc{eye, ann, ben} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	eye.expect(":ann!ann@127.0.9.9 JOIN ")
	eye.expect(":ben!ben@127.0.9.8 JOIN ")
	ann.expect(":ben!")
	seen := ann.count()
	for _, args := range [][]string{{"restart", "main/a", "--exec", "true"}, {"hold", "main/a"}} {
		if out, code := f.ctl(args...); code != 5 || strings.Contains(out, "held") {
			t.Errorf("%s: exit %d:\n%s", args, code, out)
		}
	}
	ben.send("PRIVMSG #sea :nothing happened")
	eye.expect("nothing happened")
	ann.expect("nothing happened")

	before := eye.count()
	old := a.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		a.run()
	}()
	f.move("restart", "main/a", "--allow-visible", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-restarted
	for _, nick := range []string{"ann", "ben"} {
		eye.sees(":" + nick + "!" + nick + "@127.0.9." + map[string]string{"ann": "9", "ben": "8"}[nick] + " QUIT :")
	}
	a.linked()
	eventually(t, 10*time.Second, "eye sees both join again", func() bool {
		joins := 0
		for _, line := range eye.since(before) {
			if strings.Contains(line, " JOIN ") {
				joins++
			}
		}
		return joins == 2
	})
	for _, line := range eye.since(before) {
		if strings.Contains(line, " QUIT ") && !strings.Contains(line, "The server is being restarted") {
			t.Errorf("no ordinary quit: %q", line)
		}
	}
	ann.send("PRIVMSG #sea :here again")
	eye.expect("here again")
	ben.expect("here again")
	for _, line := range ann.since(seen) {
		for _, nick := range []string{"ann", "ben"} {
			if strings.HasPrefix(line, ":"+nick+"!") && !strings.Contains(line, " PRIVMSG ") {
				t.Errorf("ann saw %q", line)
			}
		}
	}
}

// TestInspIRCdLinked: users of a linked InspIRCd are moved with ordinary quits, and the network knows them again afterwards.
func TestInspIRCdLinked(t *testing.T) { onBoth(t, inspIRCdLinked) }

func inspIRCdLinked(t *testing.T, v *inspVersion) {
	a, hub := startLinked(t, v)
	h := newHand(t, a)
	eye := login(t, hub.port, "127.0.9.9", "eye")
	ann := h.open("i.1", "ann", nil)
	eye.send("JOIN #sea")
	eye.expect(" 366 ")
	ann.ask("JOIN #sea")
	eye.expect(":ann!ann@198.51.100.7 JOIN ")
	tx, _, records := h.export(ann)
	h.ok(h.c.Release(t.Context(), tx, "Moving"))
	eye.expect(":ann!ann@198.51.100.7 QUIT :")
	tx, p := h.prepare(records...)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	ann = h.attach(tx, tx, "i.1")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	eye.expect(":ann!ann@198.51.100.7 JOIN ")
	eye.send("PRIVMSG ann :hello")
	ann.await(" PRIVMSG ann :hello")
	ann.send("PRIVMSG #sea :here\r\n")
	eye.expect(" PRIVMSG #sea :here")
	eye.send("MODE #sea")
	eye.expect(" 324 ")
	if got := ann.ask("NAMES #sea"); !strings.Contains(got, "eye") || !strings.Contains(got, "ann") {
		t.Errorf("NAMES:\n%s", got)
	}
}
