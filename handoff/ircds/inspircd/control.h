/*
 * m_handoff: HANDOFF/1 for InspIRCd 3, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */

// A control connection (HANDOFF.md, sections 3, 4, 6 and 7).

#pragma once

namespace Handoff
{
	class Control : public BufferedSocket
	{
		typedef void (Control::*Handler)(const Line&);
		struct Verb { const char* name; Handler handler; };

		Hub& hub;
		bool greeted, busy, gone, ended;
		std::string coordinator; // its HELLO name
		std::string in;          // bytes of lines not carried out
		size_t pos;              // in them
		std::string out;         // answers not given to the socket yet
		uint64_t until;          // for HELLO, or for an answer to be read; 0: nothing to wait for
		size_t unread;           // what waited to be written when until was set

		std::vector<Selection> selection;
		std::set<std::string> selected;
		Fault selfault;

	 public:
		Control(Hub& Hub, int sock, ListenSocket* via, irc::sockets::sockaddrs* client, irc::sockets::sockaddrs* server)
			: BufferedSocket(sock), hub(Hub), greeted(false), busy(false), gone(false), ended(false), pos(0), until(Now() + 10000), unread(0)
		{
			hub.controls.insert(this);
			for (ListenSocket::IOHookProvList::iterator i = via->iohookprovs.begin(); i != via->iohookprovs.end(); ++i)
				if (*i)
					(*i)->OnAccept(this, client, server);
		}

		void OnDataReady() CXX11_OVERRIDE
		{
			if (busy)
				return;
			busy = true;
			Take();
			do
			{
				while (!ended && !gone && NextLine())
					;
			} while (!ended && !gone && ReadOn());
			Flush();
			busy = false;
			if (gone)
				SetError("Connection closed"); // the caller sees it and calls OnError
			else if (ended)
			{
				DoWrite();
				Drop(true);
			}
		}

		void OnError(BufferedSocketError) CXX11_OVERRIDE
		{
			gone = true;
			if (!busy)
				Drop(false);
		}

		void CheckTime(uint64_t now)
		{
			if (getSendQSize() == 0 && greeted)
				until = 0;
			else if (greeted && (!until || getSendQSize() < unread))
				until = now + 30000;
			unread = getSendQSize();
			if (until && now >= until)
				Drop(false);
		}

		/** Closes, at once or when all is written. The object lives until the end of the loop's turn. */
		void Drop(bool written)
		{
			ended = true;
			if (written && getSendQSize() && HasFd())
			{
				Close(true);
				until = Now() + 1000;
				return;
			}
			Close();
			if (hub.controls.erase(this))
				ServerInstance->GlobalCulls.AddItem(this);
		}

	 private:
		// Reading and writing.

		void Take()
		{
			if (pos)
			{
				in.erase(0, pos);
				pos = 0;
			}
			in.append(recvq);
			recvq.clear();
		}

		/** Reads what is there beyond the one buffer that the engine reads in a turn. Also for the loop of a frozen world. */
		bool ReadOn()
		{
			if (!HasFd())
				return false;
			if (GetIOHook())
			{
				OnEventHandlerRead(); // through TLS, back to OnDataReady, which is busy
				if (!getError().empty())
					gone = true;
				const bool more = !recvq.empty();
				Take();
				return more;
			}
			static char buffer[65536];
			const ssize_t n = recv(GetFd(), buffer, sizeof(buffer), MSG_DONTWAIT);
			if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
				gone = true;
			Take();
			if (n > 0)
				in.append(buffer, n);
			return n > 0;
		}

		/** Carries one line out, if there is a whole one. */
		bool NextLine()
		{
			const size_t eol = in.find('\n', pos);
			if (eol == std::string::npos)
			{
				if (in.length() - pos >= MaxLine)
					EndWith(Fault("line-too-long", "a line is over the limit"));
				return false;
			}
			const std::string raw(in, pos, eol + 1 - pos);
			pos = eol + 1;
			Line line;
			Fault fault = line.Parse(raw.substr(0, raw.length() - 1));
			if (fault)
				EndWith(fault);
			else if (greeted && IsRecord(line.verb))
			{
				if (hub.import && hub.import->owner == this && Look(hub.import->tx).dest == "staging")
					hub.import->Add(line, raw);
			}
			else
				CarryOut(line);
			return true;
		}

		void Send(const Line& m) { out.append(m.Format()); }

		void Error(const Fault& fault, const std::string& tx = "")
		{
			Line m("ERROR");
			m.Add("code", fault.code);
			if (IsHex32(tx))
				m.Add("tx", tx);
			Send(m.Set("u", fault.u).Set("text", fault.text));
		}

		void EndWith(const Fault& fault)
		{
			Error(fault);
			ended = true;
		}

		void Flush()
		{
			for (size_t at = 0; at < out.length(); at += 65536)
				WriteData(out.substr(at, 65536));
			out.clear();
			if (getError().empty() && HasFd())
				DoWrite();
		}

		/** Writes in a world that stands still. False: not within the time. */
		bool FlushAll(uint64_t deadline)
		{
			Flush();
			while (getSendQSize() && getError().empty())
			{
				const uint64_t now = Now();
				if (now >= deadline)
					return false;
				struct pollfd p = { GetFd(), POLLOUT, 0 };
				if (poll(&p, 1, deadline - now) > 0)
				{
					// The engine, which does not turn, would have taken the mark off that writing blocks.
					SocketEngine::DelFd(this);
					SocketEngine::AddFd(this, FD_WANT_FAST_READ | FD_WANT_EDGE_WRITE);
					DoWrite();
				}
			}
			if (!getError().empty())
				gone = true;
			return !gone;
		}

		// Verbs.

		Transaction Look(const std::string& tx) const { return hub.world.transactions.Look(tx); }

		void CarryOut(const Line& line)
		{
			static const Verb verbs[] = {
				{ "PING", &Control::Ping }, { "FIND", &Control::Find }, { "STATUS", &Control::Status }, { "SELECT", &Control::Select },
				{ "EXPORT", &Control::Export }, { "RELEASE", &Control::Release }, { "RESUME", &Control::Resume },
				{ "IMPORT", &Control::Begin }, { "PREPARE", &Control::Prepare }, { "COMMIT", &Control::Commit }, { "ABORT", &Control::Abort },
			};
			static const std::string named = " STATUS EXPORT RELEASE RESUME IMPORT PREPARE COMMIT ABORT ";
			if (hub.import && Now() >= hub.import->over)
				hub.Abort();
			if (line.verb == "HELLO")
				return Hello(line);
			if (!greeted)
				return EndWith(Fault("hello-first", "control begins with HELLO"));
			if (line.verb == "OPEN" || line.verb == "ATTACH")
				return Error(Fault("wrong-connection", line.verb + " belongs on a stream"));
			for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); ++i)
			{
				if (line.verb != verbs[i].name)
					continue;
				if (named.find(" " + line.verb + " ") != std::string::npos && !IsHex32(line.Get("tx")))
				{
					if (line.verb == "EXPORT")
						ForgetSelection();
					return Error(Fault("bad-value", line.verb + " tx: not 32 lower-case hex digits"));
				}
				return (this->*verbs[i].handler)(line);
			}
			Error(Fault("unknown-verb", line.verb));
		}

		void Hello(const Line& line)
		{
			const Settings& settings = hub.world.settings;
			const std::string& v = line.Get("v");
			if (v.substr(0, v.find('.')) != "1")
				return EndWith(Fault("version", "this ircd speaks HANDOFF/1"));
			if (!settings.pass.empty() && !SameSecret(line.Get("pass"), settings.pass))
				return EndWith(Fault("denied", "wrong pass"));
			const std::string fingerprint = SSLClientCert::GetFingerprint(this);
			if (GetIOHook() && (fingerprint.empty() || !irc::spacesepstream(settings.fingerprints).Contains(fingerprint)))
				return EndWith(Fault("denied", "wrong certificate"));
			if (line.Get("role") != "coordinator")
				return EndWith(Fault("bad-value", "HELLO role: not coordinator"));
			if (!hub.exporttx.empty())
				return Error(Fault("busy", "an export is open"));
			greeted = true;
			coordinator = line.Get("name");
			SendHello();
		}

		void SendHello()
		{
			ListenSocket* const via = Hub::StreamListener();
			ProtocolInterface::ServerList servers;
			ServerInstance->PI->GetServerList(servers);
			Line m("HELLO");
			m.Add("v", "1").Add("software", "inspircd").Add("version", VersionNumber()).Add("name", ServerInstance->Config->GetServerName());
			m.Add("sid", ServerInstance->Config->GetSID()).Add("epoch", hub.world.epoch);
			m.Add("users", ServerInstance->Users->LocalUserCount()).Add("unmovable", hub.world.Unmovable(coordinator));
			m.Add("channels", ServerInstance->GetChans().size()).Add("links", servers.empty() ? 0 : servers.size() - 1);
			if (via)
			{
				irc::sockets::sockaddrs sa(via->bind_sa);
				socklen_t length = sizeof(sa);
				getsockname(via->GetFd(), &sa.sa, &length);
				m.Add("stream", sa.str());
			}
			m.Add("skey", hub.world.skey).Set("caps", Caps()).Set("isupport", ISupport());
			m.Add("maxusers", hub.world.settings.maxusers).Add("maxline", MaxLine).Add("feat", "open export import peek find");
			Send(m);
		}

		/** "InspIRCd-3.15.0-debian" without the name. */
		static std::string VersionNumber()
		{
			const std::string version(INSPIRCD_VERSION);
			return version.substr(version.find('-') + 1);
		}

		/** InspIRCd has no list of its capabilities for others: those that exist, and those that were added while we were there. */
		std::string Caps() const
		{
			static const char* const known[] = {
				"account-notify", "account-tag", "away-notify", "batch", "cap-notify", "chghost", "draft/channel-rename", "echo-message",
				"extended-join", "inspircd.org/poison", "inspircd.org/standard-replies", "invite-notify", "labeled-response", "message-tags",
				"multi-prefix", "sasl", "server-time", "setname", "draft/setname", "standard-replies", "sts", "tls", "userhost-in-names",
				"inspircd.org/channel-context",
			};
			std::set<std::string> names(known, known + sizeof(known) / sizeof(known[0]));
			names.insert(hub.world.caps.begin(), hub.world.caps.end());
			Cap::Manager* const manager = ServerInstance->Modules->FindDataService<Cap::Manager>("capmanager");
			std::string list;
			for (std::set<std::string>::const_iterator i = names.begin(); manager && i != names.end(); ++i)
			{
				const Cap::Capability* const cap = manager->Find(*i);
				if (!cap)
					continue;
				list.append(list.empty() ? "" : " ").append(*i);
				const std::string* const value = *i == "sasl" ? cap->GetValue(NULL) : NULL; // the others that have one look at the user
				if (value && !value->empty() && value->find(' ') == std::string::npos)
					list.append("=").append(*value);
			}
			return list;
		}

		static std::string ISupport()
		{
			std::string list;
			const std::vector<Numeric::Numeric>& lines = ServerInstance->ISupport.GetLines();
			for (std::vector<Numeric::Numeric>::const_iterator i = lines.begin(); i != lines.end(); ++i)
				for (size_t p = 0; p + 1 < i->GetParams().size(); ++p) // the last is for people
					list.append(list.empty() ? "" : " ").append(i->GetParams()[p]);
			return list;
		}

		void Ping(const Line& line)
		{
			Send(Line("PONG").Add("t", line.Get("t")));
		}

		void Find(const Line& line)
		{
			LocalUser* const user = IS_LOCAL(ServerInstance->FindNickOnly(line.Get("nick")));
			const Stream* const stream = user ? hub.world.streams.get(user) : NULL;
			if (!stream)
				return Error(Fault("not-found", "nobody of a stream has the nick"));
			Send(Line("FOUND").Add("u", stream->u).Add("nick", user->nick));
		}

		void Status(const Line& line)
		{
			const Transaction t = Look(line.Get("tx"));
			Send(Line("STATUS").Add("tx", line.Get("tx")).Add("source", t.source).Add("dest", t.dest));
		}

		void Answer(const std::string& verb, const std::string& tx) { Send(Line(verb).Add("tx", tx)); }

		/** One line for each step of a move in the ircd's log: how many, and how long it took. */
		static void Note(const char* what, const std::string& tx, size_t users, uint64_t begin)
		{
			ServerInstance->Logs->Log(MODNAME, LOG_DEFAULT, "%s %lu users in %lu ms (%s)", what, (unsigned long)users,
				(unsigned long)(Now() - begin), tx.substr(0, 8).c_str());
		}

		// Source.

		void Select(const Line& line)
		{
			Selection s;
			s.u = line.Get("u");
			if (selfault)
				return;
			if (!IsStreamID(s.u) || !ToNumber(line.Get("in"), s.in))
				selfault = Fault("bad-value", "SELECT: u or in make no sense");
			else if (!selected.insert(s.u).second)
				selfault = Fault("bad-value", "SELECT: the same u twice", s.u);
			else if (selection.size() >= 1000000)
				selfault = Fault("limit", "too many SELECT");
			else
				selection.push_back(s);
		}

		void ForgetSelection()
		{
			selection.clear();
			selected.clear();
			selfault = Fault();
		}

		void Export(const Line& line)
		{
			std::vector<Selection> sel;
			sel.swap(selection);
			const Fault fault = selfault;
			ForgetSelection();
			const std::string tx = line.Get("tx");
			uint64_t ms;
			if (fault)
				return Error(fault, tx);
			if (!line.Has("peek") && (!ToNumber(line.Get("freeze"), ms) || ms == 0 || ms > 60000))
				return Error(Fault("bad-value", "EXPORT freeze: not within 1 ms and 60 s"), tx);
			if (!hub.exporttx.empty())
				return Error(Fault("busy", "another export is open"), tx);
			if (Look(tx).source != "unknown")
				return Error(Fault("state", "the tx was exported before"), tx);
			if (line.Has("peek"))
				return Records(tx, &sel);

			const uint64_t begin = Now(), deadline = begin + ms;
			const Fault behind = hub.source.Freeze(sel, std::min(deadline, begin + 1000));
			if (behind)
			{
				hub.source.Resume();
				return Error(behind, tx);
			}
			hub.exporttx = tx;
			hub.world.transactions.Note(tx).source = "frozen";
			Records(tx, NULL);
			Note("Exported", tx, hub.source.Count(), begin);
			StandStill(deadline);
		}

		void Records(const std::string& tx, const std::vector<Selection>* peek)
		{
			Tally tally;
			hub.source.Export(out, tally, peek);
			Line end("END");
			end.Add("tx", tx).Add("channels", tally.channels).Add("users", tally.users).Add("unmovable", hub.world.Unmovable(coordinator));
			Send(end.Add("records", tally.records).Add("sum", tally.sum.Hex()));
		}

		/** Nothing runs but this connection until the export is at its end. */
		void StandStill(uint64_t deadline)
		{
			bool written = FlushAll(deadline);
			while (!hub.exporttx.empty())
			{
				while (written && !hub.exporttx.empty() && !ended && NextLine())
					written = FlushAll(deadline);
				if (hub.exporttx.empty())
					return;
				const uint64_t now = Now();
				if (!written || gone || ended || now >= deadline)
					return hub.Thaw();
				struct pollfd p = { GetFd(), POLLIN, 0 };
				const uint64_t left = deadline - now;
				poll(&p, 1, GetIOHook() ? std::min<uint64_t>(left, 5) : left); // TLS may hold bytes that poll does not know of
				if (p.revents || GetIOHook())
					ReadOn();
			}
		}

		void Release(const Line& line)
		{
			const std::string& tx = line.Get("tx");
			if (hub.exporttx == tx)
			{
				hub.world.transactions.Note(tx).source = "released";
				hub.exporttx.clear();
				const uint64_t begin = Now();
				const size_t users = hub.source.Count();
				hub.source.Release(line.Get("quit"));
				Note("Released", tx, users, begin);
				return Answer("RELEASED", tx);
			}
			const std::string state = Look(tx).source;
			if (state == "released")
				Answer("RELEASED", tx);
			else if (state == "resumed")
				Error(Fault("resumed", "the world went on"), tx);
			else
				Error(Fault("unknown-tx", "never exported here"), tx);
		}

		void Resume(const Line& line)
		{
			const std::string& tx = line.Get("tx");
			if (hub.exporttx == tx)
				hub.Thaw();
			else if (Look(tx).source == "released")
				return Error(Fault("released", "the users are forgotten"), tx);
			Answer("RESUMED", tx);
		}

		// Destination.

		void Begin(const Line& line)
		{
			const std::string& tx = line.Get("tx");
			uint64_t lease;
			if (!ToNumber(line.Get("lease"), lease) || lease == 0 || lease > 3600)
				return Error(Fault("bad-value", "IMPORT lease: not within 1 s and 1 h"), tx);
			if (!IsHex32(line.Get("tok")))
				return Error(Fault("bad-value", "IMPORT tok: not 32 lower-case hex digits"), tx);
			const std::string dest = Look(tx).dest;
			if (dest != "unknown" && dest != "aborted")
				return Error(Fault("state", "the tx is " + dest + " here"), tx);
			if (hub.import)
				return Error(Fault("busy", "another import is open"), tx);
			if (hub.world.closing)
				return Error(Fault("refused", "shutting down"), tx);
			hub.import = new Import(hub.world, tx, line.Get("tok"), this, Now() + lease * 1000);
			hub.world.transactions.Note(tx).dest = "staging";
			Answer("IMPORTING", tx);
		}

		/** Whether tx is the open import; if not, why. */
		Fault NotOpen(const std::string& tx) const
		{
			if (hub.import && hub.import->tx == tx)
				return hub.exporttx.empty() ? Fault() : Fault("busy", "the world stands still");
			const std::string dest = Look(tx).dest;
			if (dest == "unknown")
				return Fault("unknown-tx", "never imported here");
			return dest == "aborted" ? Fault("aborted", "aborted, or its lease is over") : Fault("state", "the tx is at its end here");
		}

		void Prepare(const Line& line)
		{
			const std::string tx = line.Get("tx");
			Fault fault = NotOpen(tx);
			if (!fault && (hub.import->owner != this || Look(tx).dest != "staging"))
				fault = Fault("state", "PREPARE once, on the connection of the IMPORT");
			if (fault)
				return Error(fault, tx);
			fault = hub.import->End(line);
			if (fault)
			{
				hub.Abort();
				return Error(fault, tx);
			}
			const uint64_t begin = Now();
			Destination& dest = hub.import->dest;
			dest.Prepare();
			Note("Prepared", tx, hub.import->users.size(), begin);
			hub.world.transactions.Note(tx).dest = "prepared";
			for (size_t i = 0; i < dest.warns.size(); ++i)
				Send(dest.warns[i].Message("WARN", tx));
			for (size_t i = 0; i < dest.conflicts.size(); ++i)
				Send(dest.conflicts[i].Message("CONFLICT", tx));
			Send(Line("PREPARED").Add("tx", tx).Add("users", hub.import->users.size()).Add("warns", dest.warns.size())
				.Add("conflicts", dest.conflicts.size()));
		}

		void Commit(const Line& line)
		{
			const std::string tx = line.Get("tx");
			if (Look(tx).dest == "committed")
				return Committed(tx);
			Fault fault = NotOpen(tx);
			if (!fault && Look(tx).dest != "prepared")
				fault = Fault("state", "COMMIT before PREPARE");
			if (!fault && !hub.import->dest.conflicts.empty())
				fault = Fault("conflict", "PREPARED told conflicts");
			if (!fault)
				fault = Attached();
			if (!fault)
				fault = hub.import->dest.Late();
			if (fault)
				return Error(fault, tx);

			const uint64_t begin = Now();
			std::map<std::string, int> fds;
			const std::set<std::string>& users = hub.import->users;
			for (std::set<std::string>::const_iterator u = users.begin(); u != users.end(); ++u)
			{
				fds[*u] = hub.import->attached.find(*u)->second->Release();
				StreamSock::Say(fds[*u], Line("LIVE").Add("u", *u)); // a failure shows at the user's first read
			}
			hub.import->dest.Commit(fds);
			Transaction& t = hub.world.transactions.Note(tx);
			t.users = users.size();
			hub.Abort(); // streams that no record names
			t.dest = "committed";
			Note("Committed", tx, t.users, begin);
			Committed(tx);
		}

		void Committed(const std::string& tx)
		{
			Send(Line("COMMITTED").Add("tx", tx).Add("users", Look(tx).users));
		}

		/** Whether all users have their streams. */
		Fault Attached() const
		{
			const std::set<std::string>& users = hub.import->users;
			for (std::set<std::string>::const_iterator u = users.begin(); u != users.end(); ++u)
			{
				std::map<std::string, StreamSock*>::const_iterator a = hub.import->attached.find(*u);
				if (a == hub.import->attached.end() || !a->second->Alive())
					return Fault("not-attached", "no stream, or one that ended or spoke before LIVE", *u);
			}
			return Fault();
		}

		void Abort(const Line& line)
		{
			const std::string tx = line.Get("tx");
			if (hub.import && hub.import->tx == tx)
				hub.Abort();
			else if (Look(tx).dest == "committed")
				return Error(Fault("committed", "the users are live here"), tx);
			Answer("ABORTED", tx);
		}
	};

	inline void Hub::CloseAll()
	{
		Thaw();
		Abort();
		const std::set<StreamSock*> streams(streamsocks);
		for (std::set<StreamSock*>::const_iterator i = streams.begin(); i != streams.end(); ++i)
			(*i)->Drop();
		const std::set<Control*> conns(controls);
		for (std::set<Control*>::const_iterator i = conns.begin(); i != conns.end(); ++i)
			(*i)->Drop(false);
	}

	inline void Hub::Sweep()
	{
		const uint64_t now = Now();
		if (import && now >= import->over)
			Abort();
		const std::set<StreamSock*> streams(streamsocks);
		for (std::set<StreamSock*>::const_iterator i = streams.begin(); i != streams.end(); ++i)
			(*i)->CheckTime(now);
		const std::set<Control*> conns(controls);
		for (std::set<Control*>::const_iterator i = conns.begin(); i != conns.end(); ++i)
			(*i)->CheckTime(now);
	}
}
