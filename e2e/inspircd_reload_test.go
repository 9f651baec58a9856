//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// The steps of an import at which an operator or a service manager may come between.
const (
	attachedOnly = "staging" // streams, and half of the records
	preparedAll  = "prepared"
)

// midImport brings an import of one user up to a step. Of its two streams no record names the second.
func (h *hand) midImport(step string) (tx string, named, unnamed *rawStream) {
	h.t.Helper()
	tx, ctx := protocol.NewSecret(), h.t.Context()
	h.ok(h.c.Import(ctx, tx, tx, time.Minute, ""))
	named, unnamed = h.attach(tx, tx, "i.7"), h.attach(tx, tx, "i.8")
	sea := protocol.NewChan("#moved", 1700000000).Message
	sea.SetBare("m.secret")
	user := imported("i.7", "moved", "oper", "NetAdmin", "x.inspircd.operblock", "root", "certfp", strings.Repeat("ab", 32), "tls", "TLSv1.3/X",
		"monitor", "oper", "account", "acc", "caps", "multi-prefix away-notify", "x.inspircd.ext.watch", "oper", "snomask", "c")
	user.SetBare("m.callerid")
	h.ok(h.c.Record(ctx, sea))
	h.ok(h.c.Record(ctx, protocol.NewList("#moved", "ban", "*!*@a", "x", 1).Message))
	h.ok(h.c.Record(ctx, user))
	h.ok(h.c.Record(ctx, protocol.NewMemb("i.7", "#moved", "o").Message))
	if step == preparedAll {
		p, err := h.c.Prepare(ctx, tx)
		h.ok(err)
		if len(p.Conflicts)+len(p.Warns) != 0 {
			h.t.Errorf("%+v", p)
		}
	}
	h.ok(h.c.Ping(ctx)) // all of it has been read
	return tx, named, unnamed
}

// TestInspIRCdReloadsInMidImport: whatever an operator loads, reloads or unloads while an import is open, the process lives and its users stay. A
// REHASH and other modules are no end of the import; a reload or an unload of this one is.
func TestInspIRCdReloadsInMidImport(t *testing.T) { onBoth(t, inspIRCdReloadsInMidImport) }

func inspIRCdReloadsInMidImport(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	h := newHand(t, a)
	oper := h.open("i.1", "oper", nil)
	oper.ask("OPER root rootpw")
	oper.ask("JOIN #here")
	others := []string{"m_cap", "m_monitor", "m_watch", "m_callerid", v.either("m_services_account", "m_account"), "m_sslinfo", "m_spanningtree", "m_customprefix", "m_permchannels",
		"m_ojoin", "m_timedbans", v.either("m_cloaking", "m_cloak"), "core_channel"}
	for _, step := range []string{attachedOnly, preparedAll} {
		tx, named, unnamed := h.midImport(step)
		oper.send("REHASH\r\n")
		oper.await("Successfully rehashed server")
		for _, m := range others {
			oper.send("RELOADMODULE " + m + ".so\r\n")
			oper.await(" 975 oper " + m + ".so :")
		}
		if step == attachedOnly {
			p, err := h.c.Prepare(t.Context(), tx)
			h.ok(err)
			if len(p.Conflicts)+len(p.Warns) != 0 {
				t.Errorf("%+v", p)
			}
		}
		_, err := h.c.Commit(t.Context(), tx)
		h.ok(err)
		h.ok(named.answer(protocol.VerbLive))
		if n, _ := io.Copy(io.Discard, unnamed.r); n != 0 {
			t.Errorf("%d bytes on a stream that nobody names", n)
		}
		if got := named.ask("NAMES #moved"); !strings.Contains(got, ":@moved") {
			t.Errorf("%s: not as in the record:\n%s", step, got)
		}
		named.send("QUIT\r\n")
		_, _ = io.Copy(io.Discard, named.r)

		for _, end := range []string{"RELOADMODULE m_handoff.so", "UNLOADMODULE m_handoff.so"} {
			tx, named, unnamed := h.midImport(step)
			oper.send(end + "\r\n")
			oper.await(" 97")
			if strings.HasPrefix(end, "UNLOAD") {
				oper.send("LOADMODULE m_handoff.so\r\n")
				oper.await(" 975 ")
				oper.send("REHASH\r\n") // its listeners had nobody
				oper.await("Successfully rehashed server")
			}
			for _, s := range []*rawStream{named, unnamed} {
				if n, _ := io.Copy(io.Discard, s.r); n != 0 {
					t.Errorf("%d bytes on an attached stream", n)
				}
			}
			h = newHand(t, a)
			if st, err := h.c.Status(t.Context(), tx); err != nil || st.Dest != protocol.DestUnknown {
				t.Errorf("%s, %s: %+v, %v", step, end, st, err)
			}
			if got := oper.ask("NICK moved"); !strings.Contains(got, " NICK ") {
				t.Errorf("%s, %s: the nick is still reserved:\n%s", step, end, got)
			}
			oper.ask("NICK oper")
		}
	}
	oper.ask("PING there")
}

// TestInspIRCdEndsInMidImport: SIGTERM, /DIE and /RESTART while an import is open. The streams end, and the process in time.
func TestInspIRCdEndsInMidImport(t *testing.T) { onBoth(t, inspIRCdEndsInMidImport) }

func inspIRCdEndsInMidImport(t *testing.T, v *inspVersion) {
	for _, step := range []string{attachedOnly, preparedAll} {
		for name, end := range map[string]func(a *nativeInspIRCd, oper *rawStream){
			"SIGTERM": func(a *nativeInspIRCd, _ *rawStream) { _ = a.proc.cmd.Process.Signal(syscall.SIGTERM) },
			"DIE":     func(_ *nativeInspIRCd, oper *rawStream) { oper.send("DIE insp.example.org\r\n") },
			"RESTART": func(_ *nativeInspIRCd, oper *rawStream) { oper.send("RESTART insp.example.org\r\n") },
		} {
			t.Run(step+"/"+name, func(t *testing.T) {
				a := v.start(t, "a")
				h := newHand(t, a)
				oper := h.open("i.1", "oper", nil)
				oper.ask("OPER root rootpw")
				_, named, unnamed := h.midImport(step)
				end(a, oper)
				for _, s := range []*rawStream{oper, named, unnamed} {
					_ = s.SetReadDeadline(time.Now().Add(slack))
					if _, err := io.Copy(io.Discard, s.r); os.IsTimeout(err) {
						t.Errorf("%s is still open", s.u)
					}
				}
				if name == "RESTART" {
					eventually(t, 20*time.Second, "the new process answers HELLO", func() bool {
						now, err := a.hello()
						return err == nil && now.Epoch != h.hello.Epoch && now.Users == 0
					})
				}
			})
		}
	}
}

// TestInspIRCdResumesAnything: what was read and not run runs at RESUME, be it a KILL of the next one, a REHASH or a reload of the very module.
func TestInspIRCdResumesAnything(t *testing.T) { onBoth(t, inspIRCdResumesAnything) }

func inspIRCdResumesAnything(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	oper := h.open("i.1", "oper", nil)
	oper.ask("OPER root rootpw")
	for _, line := range []string{"KILL ann :off", "REHASH", "RELOADMODULE m_handoff.so", "UNLOADMODULE m_handoff.so"} {
		ann := h.open("i.2", "ann", nil)
		ann.ask("JOIN #sea")
		tx, said, written := protocol.NewSecret(), "PRIVMSG oper :from ann\r\nQUIT\r\n", make(chan struct{})
		req := protocol.ExportRequest{Tx: tx, Freeze: 5 * time.Second, Select: []protocol.Selection{
			{U: "i.1", In: oper.in + uint64(len(line+"\r\n"))}, {U: "i.2", In: ann.in + uint64(len(said))}}}
		time.AfterFunc(50*time.Millisecond, func() { // the world stands still by then and waits for it
			defer close(written)
			oper.send(line + "\r\n")
			ann.send(said)
		})
		_, err := h.c.Export(t.Context(), req, func(protocol.Message) error { return nil })
		<-written
		if err == nil {
			err = h.c.Resume(t.Context(), tx)
		}
		if !strings.HasSuffix(line, "m_handoff.so") { // which closes control
			h.ok(err)
		}
		_, _ = io.Copy(io.Discard, ann.r)
		switch {
		case strings.HasPrefix(line, "UNLOAD"):
			oper.await(" 973 ")
		case strings.HasPrefix(line, "RELOAD"):
			oper.await(" 975 ")
			h = newHand(t, h.ircd)
		default:
			oper.ask("PING on")
		}
	}
}

// TestInspIRCdReleasesWhoRegisters: somebody who waits for DNS or ident, or stands in the midst of CAP, is closed at RELEASE. An answer that comes
// later finds nobody, and another user of the nick is left alone.
func TestInspIRCdReleasesWhoRegisters(t *testing.T) { onBoth(t, inspIRCdReleasesWhoRegisters) }

func inspIRCdReleasesWhoRegisters(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	writeFile(t, a.conf, strings.NewReplacer(`resolvehostnames="no" useident="no" useconnectban`, `resolvehostnames="yes" useident="yes" useconnectban`,
		`port="@PORT@"`, ``).Replace(readFile(a.conf))+`<module name="ident"> <ident timeout="2">`+"\n")
	a.run()
	h := newHand(t, a)
	for round, words := range []string{"NICK late\r\nUSER late 0 * :late\r\n", "CAP LS 302\r\nNICK late\r\nUSER late 0 * :late\r\n"} {
		u := fmt.Sprint("i.", round)
		s := h.dial(protocol.AppendOpen(nil, protocol.Open{SKey: h.hello.SKey, U: u, Remote: netip.MustParseAddrPort("127.0.0.9:4000"),
			Local: netip.MustParseAddrPort("127.0.0.1:6667")}), u)
		h.ok(s.answer(protocol.VerbOpened))
		s.send(words)
		tx, users, records := h.export(s)
		if len(users)+len(records) != 0 {
			t.Errorf("exported: %+v", records)
		}
		h.ok(h.c.Release(t.Context(), tx, ""))
		if seen, _ := io.ReadAll(s.r); strings.Contains(string(seen), "ERROR") {
			t.Errorf("who registered saw %q", seen)
		}
		tx, p := h.prepare(imported("i.7", "late"))
		if len(p.Conflicts)+len(p.Warns) != 0 {
			t.Errorf("%+v", p)
		}
		late := h.attach(tx, tx, "i.7")
		_, err := h.c.Commit(t.Context(), tx)
		h.ok(err)
		h.ok(late.answer(protocol.VerbLive))
		other := h.open(u+"b", "other", func(o *protocol.Open) { o.Remote = netip.MustParseAddrPort("127.0.0.9:4001") }) // waits as long, from later on
		if got := late.ask("WHOIS late"); !strings.Contains(got, " 311 late late id host.example ") {
			t.Errorf("the other one:\n%s", got)
		}
		for _, s := range []*rawStream{late, other} {
			s.send("QUIT\r\n")
			_, _ = io.Copy(io.Discard, s.r)
		}
	}
}
