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


// All that is open: its end, its time, its sockets.

#pragma once

namespace Handoff
{
	/** Whose sockets are no server links for certain. */
	inline std::unordered_set<EventHandler*> Hub::NoLinks() const
	{
		std::unordered_set<EventHandler*> sockets(controls.begin(), controls.end());
		sockets.insert(streamsocks.begin(), streamsocks.end());
		for (LocalUser* const user : ServerInstance->Users.GetLocalUsers())
			sockets.insert(&user->eh);
		return sockets;
	}

	inline void Hub::CloseAll()
	{
		home.LetIn("m_handoff is unloaded");
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
		world.timed.Sweep();
		home.Sweep(now);
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
