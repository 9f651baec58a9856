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


// How InspIRCd 4 makes a user who is there at once. It has no constructor for one, and what is public tells modules, which would cloak anew,
// count again or write to the user: so its private members are set.

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
	struct RealUser { typedef std::string User::*Type; friend Type Private(RealUser); };
	struct DisplayUser { typedef std::string User::*Type; friend Type Private(DisplayUser); };
	struct UserClass { typedef std::shared_ptr<ConnectClass> LocalUser::*Type; friend Type Private(UserClass); };
	struct LastID { typedef std::string UIDGenerator::*Type; friend Type Private(LastID); };

	template struct Opener<RealHost, &User::realhost>;
	template struct Opener<DisplayHost, &User::displayhost>;
	template struct Opener<RealName, &User::realname>;
	template struct Opener<RealUser, &User::realuser>;
	template struct Opener<DisplayUser, &User::displayuser>;
	template struct Opener<UserClass, &LocalUser::connectclass>;
	template struct Opener<LastID, &UIDGenerator::current_uid>;

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

	/** Makes a registered user of a socket. Nobody is told. Its id is free. */
	inline LocalUser* MakeUser(int fd, const NewUser& u)
	{
		std::string& last = ServerInstance->UIDGen.*Private(LastID());
		const std::string given = last;
		last = IDBefore(u.id);
		LocalUser* const user = new LocalUser(fd, u.client, u.server);
		last = given;

		user->nick = u.nick;
		user->nickchanged = u.nts;
		user->signon = u.signon;
		user->idle_lastmsg = u.spoke;
		user->*Private(RealHost()) = u.rhost;
		user->*Private(DisplayHost()) = u.dhost == u.rhost ? "" : u.dhost;
		user->*Private(RealName()) = u.real;
		user->*Private(RealUser()) = u.realident.empty() ? u.ident : u.realident;
		user->*Private(DisplayUser()) = u.realident.empty() ? "" : u.ident;
		user->InvalidateCache();
		if (!u.away.empty())
			user->away.emplace(u.away, u.awayat);
		user->uniqueusername = u.uniqueusername;
		user->bytes_in = u.bytesin;
		user->bytes_out = u.bytesout;
		user->cmds_in = u.linesin;
		user->cmds_out = u.linesout;
		user->connected = User::CONN_FULL;
		return user;
	}

	inline void SetClass(LocalUser* user, const ClassRef& c)
	{
		ClassRef& now = user->*Private(UserClass());
		if (now)
			now->use_count--;
		now = c;
		now->use_count++;
	}

	/** The class that the ircd would choose, or none. */
	inline ClassRef ChooseClass(LocalUser* user)
	{
		std::optional<Numeric::Numeric> why;
		for (const ClassRef& c : ServerInstance->Config->Classes)
		{
			ModResult res;
			if (c->type == ConnectClass::NAMED)
				continue;
			FIRST_MOD_RESULT(OnPreChangeConnectClass, res, (user, c, why));
			if (res != MOD_RES_DENY)
				return c;
		}
		return ClassRef();
	}
}
