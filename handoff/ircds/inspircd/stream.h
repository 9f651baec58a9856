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

// What the module keeps of each user who came by a stream: its id, exact byte counts, TLS facts.

#pragma once

namespace Handoff
{
	/** Gives access to the input that a user has sent and that was not run yet. */
	class RecvQ : public StreamSocket
	{
	 public:
		static std::string& Of(StreamSocket& sock) { return sock.*(&RecvQ::recvq); }
	};

	/** The facts of one stream.
	 *
	 * InspIRCd counts the bytes of lines and the number of lines, each mod 2^32. Both together, with what waits in its queues, are the
	 * position in the stream. Sync() must be called before 4 GiB more have passed.
	 */
	struct Stream
	{
		std::string u;
		std::string tls, certfp;    // as OPEN told
		uint64_t in, out;           // since the LF of OPEN or LIVE
		uint32_t lastin, lastout;   // InspIRCd's counts at the last Sync
		bool leaving;               // released: nothing is written to it any more

		Stream() : in(0), out(0), lastin(0), lastout(0), leaving(false) { }

		static uint32_t RawIn(LocalUser* user) { return user->bytes_in + user->cmds_in + RecvQ::Of(user->eh).length(); }
		static uint32_t RawOut(LocalUser* user) { return user->bytes_out - 2 * user->cmds_out - user->eh.GetSendQ().bytes(); }

		/** Begins to count: what has been counted so far was of another stream. */
		void Begin(LocalUser* user)
		{
			in = out = 0;
			lastin = RawIn(user);
			lastout = RawOut(user);
		}

		void Sync(LocalUser* user)
		{
			const uint32_t rawin = RawIn(user), rawout = RawOut(user);
			in += static_cast<uint32_t>(rawin - lastin);
			out += static_cast<uint32_t>(rawout - lastout);
			lastin = rawin;
			lastout = rawout;
		}
	};

	/** TLS facts of a user whose TLS ends in the proxy. The bytes are plain: it only reads, writes and knows. */
	class TLSHook : public SSLIOHook
	{
		std::string ciphersuite;

	 public:
		TLSHook(const TLSProviderRef& provider, StreamSocket* sock, const std::string& tls, const std::string& certfp)
			: SSLIOHook(provider)
			, ciphersuite(tls)
		{
			status = STATUS_OPEN;
			certificate = new ssl_cert;
			SetFingerprint(*certificate, certfp);
			certificate->invalid = false;
			certificate->trusted = false;
			certificate->unknownsigner = true;
			if (certfp.empty())
			{
				certificate->error = "No client certificate sent";
				certificate->revoked = true;
			}
			sock->AddIOHook(this);
		}

		IOResult OnStreamSocketWrite(StreamSocket* sock, StreamSocket::SendQueue& sendq) override
		{
			while (!sendq.empty())
			{
				FlattenSendQueue(sendq, 65536);
				const StreamSocket::SendQueue::Element& front = sendq.front();
				const int n = SocketEngine::Send(sock, front.data(), front.length(), 0);
				if (n < 0)
				{
					if (errno == EINTR)
						continue;
					if (!SocketEngine::IgnoreError())
						return -1;
					SocketEngine::ChangeEventMask(sock, FD_WANT_SINGLE_WRITE);
					return 0;
				}
				if (static_cast<size_t>(n) == front.length())
					sendq.pop_front();
				else
					sendq.erase_front(n);
			}
			SocketEngine::ChangeEventMask(sock, FD_WANT_NO_WRITE);
			return 1;
		}

		IOResult OnStreamSocketRead(StreamSocket* sock, std::string& recvq) override
		{
			char* const buffer = ServerInstance->GetReadBuffer();
			const int size = ServerInstance->Config->NetBufferSize;
			const int n = SocketEngine::Recv(sock, buffer, size, 0);
			if (n > 0)
			{
				recvq.append(buffer, n);
				SocketEngine::ChangeEventMask(sock, n == size ? FD_WANT_FAST_READ | FD_ADD_TRIAL_READ : FD_WANT_FAST_READ);
				return 1;
			}
			if (n < 0 && errno == EINTR)
			{
				SocketEngine::ChangeEventMask(sock, FD_WANT_FAST_READ | FD_ADD_TRIAL_READ);
				return 0;
			}
			if (n < 0 && SocketEngine::IgnoreError())
			{
				SocketEngine::ChangeEventMask(sock, FD_WANT_FAST_READ | FD_READ_WILL_BLOCK);
				return 0;
			}
			sock->SetError(n == 0 ? "Connection closed" : SocketEngine::LastError());
			SocketEngine::ChangeEventMask(sock, FD_WANT_NO_READ | FD_WANT_NO_WRITE);
			return -1;
		}

		void OnStreamSocketClose(StreamSocket*) override { }

		void GetCiphersuite(std::string& out) const override { out.append(ciphersuite); }

		bool GetServerName(std::string&) const override { return false; }
	};

	/** Knows all streams that are users. It is also the extension item that ties a Stream to its user, through a module's reload too. */
	class Streams : public Item<Stream>
	{
		typedef std::unordered_map<std::string, LocalUser*> Map;
		Map users;

	 public:
		TLSProviderRef tlsprov;

		Streams(Module* mod)
			: Item<Stream>(mod, "handoff_stream", OfUser)
		{
		}

		LocalUser* Find(const std::string& u) const
		{
			Map::const_iterator it = users.find(u);
			return it == users.end() ? nullptr : it->second;
		}

		/** Ties a stream to a user who is not known yet. */
		void Tie(LocalUser* user, const Stream& stream)
		{
			Set(user, stream);
			users[stream.u] = user;
			if (!stream.tls.empty() && !user->eh.GetIOHook() && tlsprov)
				new TLSHook(tlsprov, &user->eh, stream.tls, stream.certfp);
		}

		void Forget(LocalUser* user)
		{
			const Stream* stream = Get(user);
			if (stream)
				users.erase(stream->u);
		}

		/** Whether a coordinator of this name can move the user. */
		bool Movable(LocalUser* user, const std::string& coordinator) const
		{
			const Stream* const s = Get(user);
			return s && s->u.length() > coordinator.length() && !s->u.compare(0, coordinator.length(), coordinator)
				&& strchr("._-", s->u[coordinator.length()]);
		}

		void SyncAll()
		{
			for (Map::const_iterator it = users.begin(); it != users.end(); ++it)
				Get(it->second)->Sync(it->second);
		}

		std::string Shown(const Extensible*, Stream& s) const override { return s.u; }

		// For a module's reload only: a record has these facts in keys of their own.
		std::string Text(const Extensible* container, Stream& s) const override
		{
			s.Sync(static_cast<LocalUser*>(const_cast<User*>(static_cast<const User*>(container))));
			return s.u + " " + ConvToStr(s.in) + " " + ConvToStr(s.out) + " " + (s.tls.empty() ? "-" : s.tls) + " "
				+ (s.certfp.empty() ? "-" : s.certfp);
		}

		void Read(Extensible* container, const std::string& value) override
		{
			LocalUser* const user = IS_LOCAL(static_cast<User*>(container));
			irc::spacesepstream words(value);
			Stream s;
			std::string in, out;
			if (!user || !words.GetToken(s.u) || !words.GetToken(in) || !words.GetToken(out) || !words.GetToken(s.tls) || !words.GetToken(s.certfp))
				return;
			if (s.tls == "-")
				s.tls.clear();
			if (s.certfp == "-")
				s.certfp.clear();
			s.Begin(user);
			ToNumber(in, s.in);
			ToNumber(out, s.out);
			Tie(user, s);
		}
	};
}
