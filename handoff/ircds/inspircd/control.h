/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
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

// A control connection (HANDOFF.md, sections 3 and 4): its lines and whom they are for.

#pragma once

// The version that is spoken, for HELLO. Another one is for tests only.
#ifndef HANDOFF_MAJOR
# define HANDOFF_MAJOR "1"
#endif

namespace Handoff
{
	class Control : public BufferedSocket
	{
		typedef void (Control::*Handler)(const Line&);
		struct Verb { const char* name; Handler handler; };

		Hub& hub;
		bool greeted, busy, gone, ended;
		std::string coordinator; // its HELLO name
		std::string nonces;      // the other's and ours, of a CHALLENGE that is not answered yet
		std::string in;          // bytes of lines not carried out
		size_t pos;              // in them
		std::string out;         // answers not given to the socket yet
		uint64_t until;          // for HELLO, or for an answer to be read; 0: nothing to wait for
		size_t unread;           // what waited to be written when until was set

		std::vector<Selection> selection;
		std::vector<HeldLink> links;
		std::set<std::string> selected;
		Fault selfault;

	 public:
		Control(Hub& Hub, int sock, ListenSocket* via, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server)
			: BufferedSocket(sock), hub(Hub), greeted(false), busy(false), gone(false), ended(false), pos(0), until(Now() + 10000), unread(0)
		{
			hub.controls.insert(this);
			for (ListenSocket::IOHookProvList::iterator i = via->iohookprovs.begin(); i != via->iohookprovs.end(); ++i)
				if (*i)
					Hook(this, *(*i), client, server);
		}

		void OnDataReady() override
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

		void OnEventHandlerWrite() override
		{
			if (HasFd() && ErrorOf(*this).empty() && GetIOHook() && !Unwritten(*this))
				WriteOn();
			BufferedSocket::OnEventHandlerWrite();
		}

		void OnError(BufferedSocketError) override
		{
			gone = true;
			if (!busy)
				Drop(false);
		}

		void CheckTime(uint64_t now)
		{
			if (Unwritten(*this) == 0 && greeted)
				until = 0;
			else if (greeted && (!until || Unwritten(*this) < unread))
				until = now + 30000;
			unread = Unwritten(*this);
			if (until && now >= until)
				Drop(false);
		}

		/** Closes, at once or when all is written. The object lives until the end of the loop's turn. */
		void Drop(bool written)
		{
			ended = true;
			if (hub.import && hub.import->owner == this)
				hub.import->owner = nullptr; // before another connection gets this address
			if (written && Unwritten(*this) && HasFd())
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
				if (!ErrorOf(*this).empty())
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
			const std::string_view raw(in.data() + pos, eol + 1 - pos);
			pos = eol + 1;
			Line line;
			Fault fault = line.Parse(raw.substr(0, raw.length() - 1));
			if (fault)
				EndWith(fault);
			else if (greeted && IsRecord(line.verb))
			{
				if (hub.import && hub.import->owner == this && Look(hub.import->tx).dest == "staging")
					hub.import->Add(std::move(line), raw);
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
			if (ErrorOf(*this).empty() && HasFd())
				DoWrite();
		}

		/** Whether TLS has taken a last record that the socket has not: the queue is empty then, and InspIRCd would write no more. */
		bool HeldByTLS() const { return GetIOHook() && !Unwritten(*this) && (GetEventMask() & FD_WANT_SINGLE_WRITE); }

		/** DoWrite, also of such a record. */
		void WriteOn()
		{
			if (Unwritten(*this) || !GetIOHook())
				DoWrite();
			else if (GetIOHook()->OnStreamSocketWrite(this, GetSendQ()) < 0)
				SetError("Write Error");
		}

		/** Takes the marks off that reading and writing block, which the engine would do if it turned. TLS looks at both. */
		void Unblock()
		{
			SocketEngine::DelFd(this);
			SocketEngine::AddFd(this, FD_WANT_FAST_READ | FD_WANT_EDGE_WRITE);
		}

		/** Writes in a world that stands still. False: not within the time. */
		bool FlushAll(uint64_t deadline)
		{
			Flush();
			while ((Unwritten(*this) || HeldByTLS()) && ErrorOf(*this).empty())
			{
				const uint64_t now = Now();
				if (now >= deadline)
					return false;
				struct pollfd p = { GetFd(), POLLOUT, 0 };
				if (poll(&p, 1, deadline - now) > 0)
				{
					Unblock();
					WriteOn();
				}
			}
			if (!ErrorOf(*this).empty())
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
				{ "IMPORT", &Control::Begin }, { "PREPARE", &Control::Prepare }, { "COMMIT", &Control::Commit }, { "ABORT", &Control::Abort }, { "GREET", &Control::Greet },
			};
			static const std::string named = " STATUS EXPORT RELEASE RESUME IMPORT PREPARE COMMIT ABORT GREET ";
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

		void Answer(const std::string& verb, const std::string& tx) { Send(Line(verb).Add("tx", tx)); }

		/** One line for each step of a move in the ircd's log: how many, and how long it took. */
		static void Note(const char* what, const std::string& tx, size_t users, uint64_t begin)
		{
			WriteLog(what + (" " + ConvToStr(users)) + " users in " + ConvToStr(Now() - begin) + " ms (" + tx.substr(0, 8) + ")");
		}

		// Questions: control_hello.h
		void Hello(const Line& line);
		void Challenge(const Line& line);
		bool KnowsPass(const Line& line);
		bool KnowsPeer();
		void SendHello();
		static std::string VersionNumber();
		std::string Caps() const;
		static std::string ISupport();
		void Ping(const Line& line);
		void Find(const Line& line);
		void Status(const Line& line);

		// Source: control_source.h
		void Select(const Line& line);
		void SelectLink(const Line& line);
		void ForgetSelection();
		void Export(const Line& line);
		void Records(const std::string& tx, const LinkDump& dump, const std::vector<Selection>* peek);
		void StandStill(uint64_t deadline);
		void Release(const Line& line);
		void Resume(const Line& line);

		// Server links: control_links.h
		void Greet(const Line& line);
		Line& AddLinks(Line& hello);
		static std::string LinkCaps();

		// Destination: control_dest.h
		void Begin(const Line& line);
		Fault NotOpen(const std::string& tx) const;
		void Prepare(const Line& line);
		void Commit(const Line& line);
		void Committed(const std::string& tx, bool quiet);
		Fault Attached(bool missing) const;
		void Abort(const Line& line);
	};
}
