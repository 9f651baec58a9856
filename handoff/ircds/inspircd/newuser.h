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


// How a user is made who is there at once. Neither major has a constructor for one that can be used as it is, and what is public tells modules,
// which would cloak anew, count again or write to the user: so private members are set. v3/user.h and v4/user.h have what differs.

#pragma once

namespace Handoff
{
	// An explicit instantiation may name what is private ([temp.spec]); the friend that it defines hands the name on.
	template <typename Tag, typename Tag::Type Member>
	struct Opener
	{
		friend typename Tag::Type Private(Tag) { return Member; }
	};

	struct RealHost { typedef std::string User::*Type; friend Type Private(RealHost); };
	struct DisplayHost { typedef std::string User::*Type; friend Type Private(DisplayHost); };
	struct RealName { typedef std::string User::*Type; friend Type Private(RealName); };
	struct LastID { typedef std::string UIDGenerator::*Type; friend Type Private(LastID); };

	template struct Opener<RealHost, &User::realhost>;
	template struct Opener<DisplayHost, &User::displayhost>;
	template struct Opener<RealName, &User::realname>;
	template struct Opener<LastID, &UIDGenerator::current_uid>;

	/** What a user is by itself: no class, no mode, no channel, no list. */
	struct NewUser
	{
		std::string id, nick, ident, realident, rhost, dhost, real, away; // realident, away: may be empty
		time_t nts = 0, signon = 0, spoke = 0, awayat = 0;
		irc::sockets::sockaddrs client, server;
		unsigned long bytesin = 0, bytesout = 0, linesin = 0, linesout = 0;
		bool uniqueusername = false;
	};

	/** The id behind which the generator gives this one: AAAAAA..Z0..9, the last place first. */
	inline std::string IDBefore(std::string id)
	{
		for (size_t pos = id.length(); pos-- > 3; )
		{
			char& c = id[pos];
			if (c == 'A')
			{
				c = '9';
				continue;
			}
			c = c == '0' ? 'Z' : c - 1;
			break;
		}
		return id;
	}

	LocalUser* Construct(int fd, NewUser& u);
	void SetRest(LocalUser* user, const NewUser& u);

	/** Makes a registered user of a socket. Nobody is told. Its id is free. */
	inline LocalUser* MakeUser(int fd, NewUser& u)
	{
		std::string& last = ServerInstance->UIDGen.*Private(LastID());
		const std::string given = last;
		last = IDBefore(u.id);
		LocalUser* const user = Construct(fd, u); // with the next id
		last = given;

		user->nick = u.nick;
		user->signon = u.signon;
		user->idle_lastmsg = u.spoke;
		user->*Private(RealHost()) = u.rhost;
		user->*Private(DisplayHost()) = u.dhost == u.rhost ? "" : u.dhost;
		user->*Private(RealName()) = u.real;
		user->uniqueusername = u.uniqueusername;
		user->bytes_in = u.bytesin;
		user->bytes_out = u.bytesout;
		user->cmds_in = u.linesin;
		user->cmds_out = u.linesout;
		SetRest(user, u);
		user->InvalidateCache();
		return user;
	}
}
