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

// A stream until it is a user (HANDOFF.md, section 5): first line, then OPEN hands it over at once, ATTACH holds it until COMMIT.

#pragma once

namespace Handoff
{
	/** States: FIRST -OPEN-> a user; FIRST -ATTACH-> HELD -COMMIT-> a user; FIRST, HELD -fault-> DRAIN -> closed. */
	class StreamSock : public EventHandler
	{
		enum State { FIRST, HELD, DRAIN };

		Hub& hub;
		State state;
		std::string buffer;
		uint64_t until; // 0: for ever

	 public:
		std::string u;  // of HELD

		StreamSock(Hub& Hub, int sock)
			: hub(Hub), state(FIRST), until(Now() + 10000)
		{
			const int one = 1, size = 65536;
			setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
			SetFd(sock);
			hub.streamsocks.insert(this);
			if (!SocketEngine::AddFd(this, FD_WANT_POLL_READ | FD_WANT_NO_WRITE))
				Drop();
		}

		/** Closes what is nobody's. The object lives until the end of the loop's turn. */
		void Drop()
		{
			if (HasFd())
				SocketEngine::Close(this);
			Forget();
		}

		/** Gives the socket away. */
		int Release()
		{
			const int sock = GetFd();
			SocketEngine::DelFd(this);
			SetFd(-1);
			Forget();
			return sock;
		}

		void CheckTime(uint64_t now)
		{
			if (until && now >= until)
				Drop();
		}

		/** Whether a held stream is there and has said nothing. */
		bool Alive() const
		{
			char c;
			return state == HELD && HasFd() && recv(GetFd(), &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
		}

		/** Writes a short line to a socket whose buffer is empty. */
		static bool Say(int sock, const Line& m)
		{
			const std::string raw = m.Format();
			return send(sock, raw.data(), raw.length(), MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(raw.length());
		}

		void OnEventHandlerRead() override
		{
			char bytes[2048];
			const size_t room = state == FIRST ? MaxFirstLine - buffer.length() : sizeof(bytes);
			const ssize_t n = recv(GetFd(), bytes, std::min(room, sizeof(bytes)), MSG_DONTWAIT);
			if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
				return;
			if (n <= 0)
				return Drop();
			if (state == DRAIN)
				return;
			if (state == HELD)
				return Refuse(Fault("bad-line", "bytes before LIVE", u));
			buffer.append(bytes, n);
			const size_t eol = buffer.find('\n');
			if (eol == std::string::npos)
			{
				if (buffer.length() >= MaxFirstLine)
					Refuse(Fault("line-too-long", "the first line is over the limit"));
				return;
			}
			Line line;
			Fault fault = line.Parse(std::string_view(buffer).substr(0, eol));
			const std::string rest = buffer.substr(eol + 1);
			if (!fault)
				fault = First(line, rest);
			if (fault)
				Refuse(fault, line.Get("tx"));
		}

		void OnEventHandlerError(int) override { Drop(); }

	 private:
		void Forget()
		{
			if (!hub.streamsocks.erase(this))
				return;
			if (state == HELD && hub.import)
			{
				std::map<std::string, StreamSock*>::iterator it = hub.import->attached.find(u);
				if (it != hub.import->attached.end() && it->second == this)
					hub.import->attached.erase(it);
			}
			ServerInstance->GlobalCulls.AddItem(this);
		}

		/** Says why, and reads what still comes for a moment: a close with unread bytes would take the line with it. */
		void Refuse(const Fault& fault, const std::string& tx = "")
		{
			Line m("ERROR");
			m.Add("code", fault.code);
			if (IsHex32(tx))
				m.Add("tx", tx);
			m.Set("u", fault.u).Set("text", fault.text);
			if (state == HELD && hub.import)
				hub.import->attached.erase(u);
			state = DRAIN;
			until = Now() + 1000;
			Say(GetFd(), m);
			shutdown(GetFd(), SHUT_WR);
		}

		Fault First(const Line& line, const std::string& rest)
		{
			static const char* const control[] = {
				"HELLO", "PING", "FIND", "STATUS", "SELECT", "EXPORT", "RELEASE", "RESUME", "IMPORT", "PREPARE", "COMMIT", "ABORT", "GREET", nullptr,
			};
			if (line.verb != "OPEN" && line.verb != "ATTACH")
			{
				for (const char* const* verb = control; *verb; ++verb)
					if (line.verb == *verb)
						return Fault("wrong-connection", line.verb + " belongs on control");
				return IsRecord(line.verb) ? Fault("wrong-connection", "records belong on control")
					: Fault("unknown-verb", "a stream begins with OPEN or ATTACH");
			}
			if (!line.Has("proof") && !SameSecret(line.Get("k"), hub.world.skey))
				return Fault("denied", "wrong k");
			if (line.Has("proof") && !IsHex32(line.Get("nonce")))
				return Fault("bad-value", line.verb + " nonce: not 32 lower-case hex digits");
			if (!IsStreamID(line.Get("u")))
				return Fault("bad-value", line.verb + " u: not a stream id");
			if (hub.world.closing)
				return Fault("refused", "shutting down", line.Get("u"));
			return line.verb == "OPEN" ? Open(line, rest) : Attach(line, rest);
		}

		static bool Address(const Line& line, const char* addr, const char* port, irc::sockets::sockaddrs& sa)
		{
			uint64_t n;
			return line.Has(port) && ToNumber(line.Get(port), n) && ToAddress(line.Get(addr), n, sa);
		}

		/** The proof of what this end or the other says, about a stream with this first line. more: what ATTACH signs besides. */
		std::string ProofOf(const char* verb, const Line& line, const std::string& more = "") const
		{
			return Proof(hub.world.skey, std::string("HANDOFF/1 ") + verb + " " + line.Get("nonce") + " " + line.Get("u") + more);
		}

		/** The answer, with the proof of this end if the other has given its own. */
		Line Answer(const char* verb, const Line& line, const std::string& more = "") const
		{
			Line answer(verb);
			answer.Add("u", line.Get("u"));
			return line.Has("proof") ? answer.Add("proof", ProofOf(verb, line, more)) : answer;
		}

		/** Makes the stream an ordinary local user with the client's address. */
		Fault Open(const Line& line, const std::string& rest)
		{
			const std::string id = line.Get("u");
			irc::sockets::sockaddrs client, server;
			if (line.Has("proof") && !SameSecret(line.Get("proof"), ProofOf("OPEN", line)))
				return Fault("denied", "wrong proof", id);
			if (!Address(line, "addr", "port", client))
				return Fault("bad-value", "OPEN addr or port: not an address", id);
			if (!Address(line, "laddr", "lport", server))
				return Fault("bad-value", "OPEN laddr or lport: not an address", id);
			if ((!line.Get("tls").empty() && !IsWord(line.Get("tls"))) || (!line.Get("certfp").empty() && !IsFingerprint(line.Get("certfp"))))
				return Fault("bad-value", "OPEN tls or certfp: makes no sense", id);
			if (hub.world.streams.Find(id))
				return Fault("u-in-use", "the stream id is in use", id);
			ListenSocket* const via = Hub::StreamListener(); // a rehash may have taken the one that we came by
			if (!via)
				return Fault("refused", "no listener for streams any more", id);

			Stream stream;
			stream.u = id;
			stream.tls = line.Get("tls");
			stream.certfp = line.Get("certfp");
			const int sock = Release();
			if (!Say(sock, Answer("OPENED", line)))
			{
				SocketEngine::Close(sock);
				return Fault();
			}
			hub.opening = &stream;
			AddUser(sock, via, client, server);
			hub.opening = nullptr;
			LocalUser* const user = hub.world.streams.Find(id);
			if (user && !user->quitting && !rest.empty())
			{
				RecvQ::Of(user->eh).append(rest);
				user->eh.OnDataReady();
			}
			return Fault();
		}

		Fault Attach(const Line& line, const std::string& rest)
		{
			const std::string& tx = line.Get("tx");
			const std::string id = line.Get("u");
			if (!IsHex32(tx))
				return Fault("bad-value", "ATTACH tx: makes no sense");
			if (!rest.empty())
				return Fault("bad-line", "bytes before LIVE", id);
			if (!hub.import || hub.import->tx != tx)
			{
				const std::string dest = hub.world.transactions.Look(tx).dest;
				if (dest == "unknown")
					return Fault("unknown-tx", "never imported here", id);
				return dest == "aborted" ? Fault("aborted", "aborted, or its lease is over", id) : Fault("state", "the tx is at its end here", id);
			}
			const std::string signedtoo = " " + tx + " " + hub.import->tok;
			if (line.Has("proof") ? !SameSecret(line.Get("proof"), ProofOf("ATTACH", line, signedtoo)) : !SameSecret(line.Get("tok"), hub.import->tok))
				return Fault("denied", line.Has("proof") ? "wrong proof" : "wrong tok", id);
			std::map<std::string, StreamSock*>::iterator old = hub.import->attached.find(id);
			if (old != hub.import->attached.end())
			{
				if (old->second->Alive())
					return Fault("attached", "a second ATTACH", id);
				old->second->Drop(); // lost on the way; the coordinator tries again
			}
			if (hub.import->attached.size() >= hub.world.settings.maxusers)
				return Fault("limit", "over maxusers", id);
			state = HELD;
			until = 0;
			u = id;
			hub.import->attached[u] = this;
			if (!Say(GetFd(), Answer("ATTACHED", line, signedtoo)))
				Drop();
			return Fault();
		}
	};

	inline void Hub::Abort()
	{
		if (!import)
			return;
		world.transactions.Note(import->tx).dest = "aborted";
		std::map<std::string, StreamSock*> attached;
		attached.swap(import->attached);
		if (import->links)
			home.Importing(false);
		delete import;
		import = nullptr;
		for (std::map<std::string, StreamSock*>::iterator i = attached.begin(); i != attached.end(); ++i)
			i->second->Drop();
	}

	inline void Hub::Thaw()
	{
		if (exporttx.empty())
			return;
		world.transactions.Note(exporttx).source = "resumed";
		exporttx.clear();
		source.Resume();
	}
}
