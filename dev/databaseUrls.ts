/** One per login role of the database; see DESIGN, "Roles". */
export interface DatabasePasswords {
  owner: string;
  api: string;
  worker: string;
  auditor: string;
}

export interface DatabaseUrls extends DatabasePasswords {
  superuser: string;
}

/** The logins of every role to the database that the superuser's URL names. */
export function databaseUrls(superuserUrl: string, passwords: DatabasePasswords): DatabaseUrls {
  const as = (role: string, password: string) => {
    const url = new URL(superuserUrl);
    url.username = role;
    url.password = password;
    return url.href;
  };
  return {
    superuser: superuserUrl,
    owner: as('tollgate_owner', passwords.owner),
    api: as('tollgate_api', passwords.api),
    worker: as('tollgate_worker', passwords.worker),
    auditor: as('tollgate_auditor', passwords.auditor),
  };
}
