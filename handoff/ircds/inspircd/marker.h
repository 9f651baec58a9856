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


// The marker of a move on all server links, and how it is handed to the kernel.

#pragma once

namespace Handoff
{
	/** The sockets of the servers that are linked directly. The core does not tell which those are: they are the ones on which something
	 * stands to be written after something was said to the network, and on which nothing stood before. */
	class LinkSockets
	{
		const std::unordered_set<EventHandler*> others; // that are none for certain
		std::vector<StreamSocket*> sockets;

		/** What can be a link: it is no client, no listener, and something stands on it to be written. */
		std::vector<EventHandler*> Waiting() const
		{
			std::vector<EventHandler*> waiting;
			size_t left = SocketEngine::GetUsedFds();
			for (int fd = 0; left && fd < static_cast<int>(SocketEngine::GetMaxFds()); ++fd)
			{
				EventHandler* const eh = SocketEngine::GetRef(fd);
				left -= (eh != nullptr);
				if (eh && (eh->GetEventMask() & FD_ADD_TRIAL_WRITE) && !others.count(eh))
					waiting.push_back(eh);
			}
			return waiting;
		}

		/** Takes off what the engine would at its next turn. */
		static void Unmark(EventHandler* eh)
		{
			const int mask = eh->GetEventMask() & ~(FD_ADD_TRIAL_READ | FD_ADD_TRIAL_WRITE);
			SocketEngine::DelFd(eh);
			SocketEngine::AddFd(eh, mask);
		}

	 public:
		LinkSockets(const std::unordered_set<EventHandler*>& Others) : others(Others) { }

		/** Writes what stands on others already, as the engine would. A link that fails in this splits. */
		void Settle()
		{
			for (EventHandler* const eh : Waiting())
				if (!(eh->GetEventMask() & FD_WRITE_WILL_BLOCK))
					eh->OnEventHandlerWrite();
		}

		/** Says the marker of tx on all links. */
		void Mark(const std::string& tx)
		{
			for (EventHandler* const eh : Waiting())
				Unmark(eh);
			SayToNetwork("ircferry", tx);
			for (EventHandler* const eh : Waiting())
				sockets.push_back(static_cast<StreamSocket*>(eh));
		}

		/** Hands all that stands on the links to the kernel, while the engine does not turn. False: not within the time, or a link has ended. */
		bool Write(uint64_t deadline) const
		{
			for (StreamSocket* const sock : sockets)
			{
				while (sock->HasFd() && Stands(sock))
				{
					WriteOn(sock);
					if (!ErrorOf(*sock).empty())
						return false;
					const uint64_t now = Now();
					struct pollfd p = { sock->GetFd(), POLLOUT, 0 };
					if (Stands(sock) && (now >= deadline || poll(&p, 1, deadline - now) < 0))
						return false;
				}
			}
			return true;
		}

	 private:
		/** Whether there is something to be written. TLS may hold a last record that the queue does not have any more. */
		static bool Stands(const StreamSocket* sock)
		{
			return Unwritten(*sock) || (sock->GetIOHook() && (sock->GetEventMask() & FD_WANT_SINGLE_WRITE));
		}

		static void WriteOn(StreamSocket* sock)
		{
			if (sock->GetEventMask() & FD_WRITE_WILL_BLOCK) // which the engine would take off if it turned
			{
				SocketEngine::DelFd(sock);
				SocketEngine::AddFd(sock, FD_WANT_FAST_READ | FD_WANT_EDGE_WRITE);
			}
			if (Unwritten(*sock))
				sock->DoWrite();
			else if (sock->GetIOHook()->OnStreamSocketWrite(sock, const_cast<StreamSocket::SendQueue&>(sock->GetSendQ())) < 0)
				sock->SetError("Write Error");
		}
	};
}
