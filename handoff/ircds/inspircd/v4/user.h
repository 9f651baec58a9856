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


// How InspIRCd 4 makes a user: newuser.h.

#pragma once

namespace Handoff
{
	struct RealUser { typedef std::string User::*Type; friend Type Private(RealUser); };
	struct DisplayUser { typedef std::string User::*Type; friend Type Private(DisplayUser); };
	struct UserClass { typedef std::shared_ptr<ConnectClass> LocalUser::*Type; friend Type Private(UserClass); };

	template struct Opener<RealUser, &User::realuser>;
	template struct Opener<DisplayUser, &User::displayuser>;
	template struct Opener<UserClass, &LocalUser::connectclass>;

	inline LocalUser* Construct(int fd, NewUser& u) { return new LocalUser(fd, u.client, u.server); }

	inline void SetRest(LocalUser* user, const NewUser& u)
	{
		user->nickchanged = u.nts;
		user->*Private(RealUser()) = u.realident.empty() ? u.ident : u.realident;
		user->*Private(DisplayUser()) = u.realident.empty() ? "" : u.ident;
		if (!u.away.empty())
			user->away.emplace(u.away, u.awayat);
		user->connected = User::CONN_FULL;
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
